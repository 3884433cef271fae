"""Selection of a ready pod of the MCP server, with failover to another one."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentrun.cli.connection.discovery import Service
from agentrun.cli.connection.kube import UserCluster
from agentrun.cli.problems import AwayError, CliError, RefusedError
from agentrun.kube.api import Object


@dataclass(frozen=True)
class Pod:
    """A ready pod and the port that it serves on."""

    namespace: str
    name: str
    port: int

    @property
    def forward_path(self) -> str:
        """The API path of the pod's portforward subresource."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}/portforward"


class Pods:
    """The MCP server's pods. One is used until it fails."""

    def __init__(self, kube: UserCluster, service: Service) -> None:
        self._kube = kube
        self._service = service
        self._current: Pod | None = None

    async def current(self) -> Pod:
        """Return the selected pod. Its readiness was checked when it was selected."""
        if self._current is None:
            self._current = random.choice(await self._ready())
        return self._current

    def drop(self, pod: Pod) -> None:
        """Select another pod on the next call of ``current``."""
        if self._current == pod:
            self._current = None

    async def _ready(self) -> Sequence[Pod]:
        service = self._service
        path = f"/api/v1/namespaces/{service.namespace}/pods"
        try:
            found = await self._kube.get(path, {"labelSelector": service.selector})
        except RefusedError as error:
            raise CliError(
                f"you have no permission to list pods in namespace {service.namespace}:"
                f" {missing_right(service)}"
            ) from error
        pods = ready_pods(found["items"], service.target_port)
        if not pods:
            raise AwayError(
                f"the MCP server {service.namespace}/{service.name} has no ready pod: try again in"
                f" a few seconds, or check with `kubectl get pods -n {service.namespace}"
                f" -l {service.selector}`"
            )
        return pods


def ready_pods(manifests: Sequence[Object], target_port: str) -> list[Pod]:
    """Return the pods that are ready and not terminating."""
    return [
        Pod(pod["metadata"]["namespace"], pod["metadata"]["name"], port_of(pod, target_port))
        for pod in manifests
        if "deletionTimestamp" not in pod["metadata"] and _is_ready(pod)
    ]


def port_of(pod: Object, target_port: str) -> int:
    """Resolve a Service's target port to a port number of the pod."""
    if target_port.isdecimal():
        return int(target_port)
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
    named = [port["containerPort"] for port in ports if port.get("name") == target_port]
    return int(named[0]) if named else 8080


def missing_right(service: Service) -> str:
    """Return instructions for granting a permission missing in the Service's namespace."""
    return (
        f"ask an administrator to run `kubectl create rolebinding {service.role} -n"
        f" {service.namespace} --role={service.role} --user=YOU` (it grants `get` and `list` on"
        " services and pods, `get` and `create` on pods/portforward), or give --url"
    )


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
