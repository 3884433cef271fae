"""The cluster, in memory."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentrun.api.v1alpha1 import (
    AgentProfile,
    AgentProfileSpec,
    AgentRun,
    AgentSession,
    AgentSessionSpec,
    AgentStatus,
    ObjectMeta,
)
from agentrun.kube.api import APPLY_PATCH
from agentrun.kube.client import Kube
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import Resource
from mcp_server.gateway.ports import (
    Change,
    ClusterUnavailableError,
    PodIdentity,
    RunGoneError,
    UnauthenticatedError,
)


@dataclass
class FakeAuthenticator:
    """Accepts tokens of the form ``namespace/pod/uid``."""

    away: bool = False

    async def authenticate(self, token: str) -> PodIdentity:
        if self.away:
            raise ClusterUnavailableError("The API server is away.")
        parts = token.split("/")
        if len(parts) != 3:
            raise UnauthenticatedError("The token is not valid.")
        return PodIdentity(*parts)


@dataclass
class FakeRuns:
    """The API server's objects, by kind and name, in namespace ``team``."""

    runs: dict[str, AgentRun] = field(default_factory=dict)
    profiles: dict[str, AgentProfile] = field(default_factory=dict)
    sessions: dict[str, AgentSession] = field(default_factory=dict)
    applied: list[AgentStatus] = field(default_factory=list)
    refusal: Exception | None = None
    """Raised by every write."""
    away: bool = False

    def put(self, run: AgentRun) -> AgentRun:
        self.runs[run.metadata.name] = run.model_copy(deep=True)
        return run

    async def get(self, namespace: str, name: str) -> AgentRun | None:
        self._check()
        run = self.runs.get(name) if namespace == "team" else None
        return run.model_copy(deep=True) if run else None

    async def profile(self, namespace: str, name: str) -> AgentProfile | None:
        self._check()
        return self.profiles.get(name)

    async def session(self, namespace: str, name: str) -> AgentSession | None:
        self._check()
        return self.sessions.get(name)

    async def change_agent_status(self, run: AgentRun, change: Change) -> AgentRun:
        self._check()
        status = change(run)
        if status is None:
            return run
        if self.refusal is not None:
            raise self.refusal
        stored = self.runs.get(run.metadata.name)
        if stored is None or stored.metadata.uid != run.metadata.uid:
            raise RunGoneError(f"Run {run.metadata.name} was deleted.")
        self.applied.append(status)
        version = str(int(stored.metadata.resource_version) + 1)
        stored = stored.model_copy(deep=True)
        stored.metadata.resource_version = version
        # Converts as a round trip through JSON does.
        stored.status.agent = AgentStatus.model_validate(status.to_json())
        return self.put(stored)

    def _check(self) -> None:
        if self.away:
            raise ClusterUnavailableError("The API server is away.")


class FakeKube(Kube):
    """An API server with a few objects that checks resourceVersions as the real one does."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.patches: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.error: ApiError | None = None
        self.before_patch: list[Callable[[], Awaitable[object]]] = []
        """Called between a patch's read and write: the next of these, each once."""

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        try:
            return self.objects[resource.plural, name]
        except KeyError:
            raise ApiError(404, "NotFound", f"{name} not found") from None

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: dict[str, Any],
        *,
        subresource: str = "",
        content_type: str = "",
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        if self.before_patch:
            await self.before_patch.pop(0)()
        stored = await self.get(resource, namespace, name)
        version = stored["metadata"]["resourceVersion"]
        if body["metadata"]["resourceVersion"] != version:
            raise ApiError(409, "Conflict", "the object has been modified")
        assert (subresource, content_type) == ("status", APPLY_PATCH)
        self.patches.append((body, dict(query or {})))
        metadata = {**stored["metadata"], "resourceVersion": f"{version}0"}
        status = {**stored["status"], **body["status"]}
        self.objects[resource.plural, name] = {**stored, "metadata": metadata, "status": status}
        return self.objects[resource.plural, name]


def a_profile(name: str = "codex") -> AgentProfile:
    spec = AgentProfileSpec(backend="codex", image="agents:1", instructions="Be brief.")
    return AgentProfile(metadata=ObjectMeta(name=name, namespace="team"), spec=spec)


def a_session(name: str, uid: str) -> AgentSession:
    metadata = ObjectMeta(name=name, namespace="team", uid=uid)
    return AgentSession(metadata=metadata, spec=AgentSessionSpec(backend="codex"))
