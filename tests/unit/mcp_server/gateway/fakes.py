"""The cluster, in memory."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from agentrun.api.base import Model
from agentrun.api.v1alpha1 import (
    AgentProfile,
    AgentProfileSpec,
    AgentRun,
    AgentSession,
    AgentSessionSpec,
    AgentStatus,
    ObjectMeta,
)
from agentrun.kube.api import APPLY_PATCH, MERGE_PATCH, Object, Patch
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import Resource
from mcp_server.gateway.ports import (
    Change,
    ClusterUnavailableError,
    PodIdentity,
    RunGoneError,
    UnauthenticatedError,
)
from tests import fake_kube


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


class FakeKube(fake_kube.FakeKube):
    """The API server in memory, with failures and a record of the patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches: list[tuple[Patch, Mapping[str, str] | None]] = []
        self.error: ApiError | None = None
        """The error for every request."""
        self.before_patch: list[Callable[[], Awaitable[object]]] = []
        """Called between a patch's read and write: the next of these, each once."""

    def put(self, resource: Resource, obj: Model) -> None:
        """Store an object with its own version, as another client does."""
        stored = obj.to_json()
        meta = stored["metadata"]
        self.objects[resource.plural, meta["namespace"], meta["name"]] = stored

    def admit(self, verb: str, resource: Resource, name: str) -> None:
        if self.error is not None:
            raise self.error

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Patch,
        *,
        subresource: str = "",
        content_type: str = MERGE_PATCH,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        if self.before_patch:
            await self.before_patch.pop(0)()
        assert (subresource, content_type) == ("status", APPLY_PATCH)
        written = await super().patch(
            resource, namespace, name, body,
            subresource=subresource, content_type=content_type, query=query,
        )  # fmt: skip
        self.patches.append((body, query))
        return written


def a_profile(name: str = "codex") -> AgentProfile:
    spec = AgentProfileSpec(backend="codex", image="agents:1", instructions="Be brief.")
    return AgentProfile(metadata=ObjectMeta(name=name, namespace="team"), spec=spec)


def a_session(name: str, uid: str) -> AgentSession:
    metadata = ObjectMeta(name=name, namespace="team", uid=uid)
    return AgentSession(metadata=metadata, spec=AgentSessionSpec(backend="codex"))
