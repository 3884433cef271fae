"""Fake nodes: kwok simulates their kubelets, so that they can be lost and come back."""

import asyncio
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dev import paths, product, tools
from tests.e2e.cluster import Json, apply, delete, merge, until

_TAINT = {"key": "agentrun.dev/fake", "value": "true", "effect": "NoSchedule"}
_LOST = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")


@dataclass
class FakeNode:
    """One node with a kubelet process of its own; its pods run nothing."""

    name: str
    cpu: str = "64"
    _kubelet: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    async def create(self) -> None:
        """Create the node, without system pods, and start its kubelet."""
        await apply(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name}},
                "spec": {"taints": [_TAINT]},
            }
        )
        size = {"cpu": self.cpu, "memory": "256Gi", "pods": "100", "ephemeral-storage": "1Ti"}
        await self._merge({"status": {"capacity": size, "allocatable": size}}, "status")
        await self.start()
        await until("node", self.name, is_ready, namespace="", seconds=60)

    async def delete(self) -> None:
        """Remove what is left of the node."""
        self.stop()
        await delete("node", self.name, namespace="")

    async def start(self) -> None:
        """Start the kubelet: it finalizes the pods that were deleted in the meantime."""
        await asyncio.to_thread(self._start)

    def stop(self) -> None:
        """Kill the kubelet, as in a power cut: nothing reports the node's status any more."""
        if self._kubelet is not None:
            self._kubelet.kill()
            self._kubelet.wait()
            self._kubelet = None

    async def reopen(self) -> None:
        """Accept pods again, after the node was drained or tainted."""
        await self._merge({"spec": {"taints": [_TAINT], "unschedulable": None}})

    def profile(self, name: str, **spec: Any) -> Json:
        """Build a profile for this node; its pods are evicted soon after the node is lost."""
        tolerations: list[Json] = [{"key": _TAINT["key"], "operator": "Exists"}]
        # The taints of a node that is back are removed some seconds after pods are bound to it
        # again.
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

    def _start(self) -> None:
        cluster = os.environ["AGENTRUN_CLUSTER"]
        log = Path("/tmp") / f"kwok-{cluster}-{self.name}.log"
        tools.build((tools.KWOK,))
        with log.open("ab") as output:
            self._kubelet = subprocess.Popen(
                [
                    paths.binaries() / "kwok",
                    f"--manage-single-node={self.name}",
                    # With a shorter lease, the nodes flap.
                    "--node-lease-duration-seconds=40",
                ],
                env=product.environment(cluster), stdout=output, stderr=output,
            )  # fmt: skip

    async def _merge(self, body: Json, subresource: str = "") -> None:
        await merge("node", self.name, body, namespace="", subresource=subresource)


def is_ready(node: Json | None) -> bool:
    """Return whether the node's condition Ready is True."""
    conditions = (node or {}).get("status", {}).get("conditions", [])
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)
