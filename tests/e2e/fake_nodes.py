"""Nodes that are none: kwok plays their kubelets, so that they can be lost and come back."""

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dev import paths, product, tools
from dev.shell import wait_until

Json = dict[str, Any]

_TAINT = {"key": "agentrun.dev/fake", "value": "true", "effect": "NoSchedule"}
_LOST = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")


@dataclass
class FakeNode:
    """One node, its kubelet a process of its own; its pods run nothing."""

    name: str
    cpu: str = "64"
    _kubelet: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def create(self) -> None:
        """Make the node, with nothing of the cluster's own on it, and start its kubelet."""
        product.apply(self._env, self._manifest())
        size = {"cpu": self.cpu, "memory": "256Gi", "pods": "100", "ephemeral-storage": "1Ti"}
        status = json.dumps({"status": {"capacity": size, "allocatable": size}})
        self._kubectl("patch", "node", self.name, "--subresource=status", "-p", status)
        self.start()
        wait_until(f"{self.name} is ready", self.is_ready)

    def delete(self) -> None:
        """Remove what is left of the node."""
        self.stop()
        self._kubectl("delete", "node", self.name, "--ignore-not-found")

    def start(self) -> None:
        """Start the kubelet: it lets go of the pods that were deleted meanwhile."""
        log = Path("/tmp") / f"kwok-{os.environ['AGENTRUN_CLUSTER']}-{self.name}.log"
        tools.build((tools.KWOK,))
        with log.open("ab") as output:
            self._kubelet = subprocess.Popen(
                [
                    paths.binaries() / "kwok",
                    f"--manage-single-node={self.name}",
                    # With less, its nodes flap.
                    "--node-lease-duration-seconds=40",
                ],
                env=self._env, stdout=output, stderr=output,
            )  # fmt: skip

    def stop(self) -> None:
        """End the kubelet as a power cut would: nobody answers for the node any more."""
        if self._kubelet is not None:
            self._kubelet.kill()
            self._kubelet.wait()
            self._kubelet = None

    def is_ready(self) -> bool:
        """Whether the API server believes the node to work."""
        query = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        return self._kubectl("get", "node", self.name, "-o", query) == "True"

    def profile(self, name: str, **spec: Any) -> Json:
        """Make a profile for this node; its pods are given up soon after the node is lost."""
        tolerations: list[Json] = [{"key": _TAINT["key"], "operator": "Exists"}]
        # The taints of a node that is back go some seconds after pods are bound to it again.
        patience = spec.pop("patience", 15)
        tolerations += [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": patience}
            for key in _LOST
        ]
        pod = {"nodeSelector": {"kubernetes.io/hostname": self.name}, "tolerations": tolerations}
        return {
            "apiVersion": "agentrun.dev/v1alpha1",
            "kind": "AgentProfile",
            "metadata": {"name": name, "namespace": product.RUNS},
            "spec": {
                "backend": "acp",
                "image": "localhost/agentrun/none:1",
                "command": ["none"],
                "timeouts": {"terminationGracePeriodSeconds": 1},
                **spec,
                "pod": pod | spec.get("pod", {}),
            },
        }

    def _manifest(self) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name}},
            "spec": {"taints": [_TAINT]},
        }

    @property
    def _env(self) -> dict[str, str]:
        return product.environment(os.environ["AGENTRUN_CLUSTER"])

    def _kubectl(self, *arguments: str) -> str:
        return product.kube(self._env, *arguments)
