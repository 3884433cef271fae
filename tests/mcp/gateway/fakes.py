"""The cluster, in memory."""

from dataclasses import dataclass, field

from agentrun.api.v1alpha1 import (
    AgentProfile,
    AgentProfileSpec,
    AgentRun,
    AgentSession,
    AgentSessionSpec,
    AgentStatus,
    ObjectMeta,
)
from mcp_server.gateway.ports import ClusterUnavailable, PodIdentity, RunGone, Unauthenticated


@dataclass
class FakeAuthenticator:
    """Knows tokens of the form ``namespace/pod/uid``."""

    away: bool = False

    async def authenticate(self, token: str) -> PodIdentity:
        if self.away:
            raise ClusterUnavailable("The API server is away.")
        parts = token.split("/")
        if len(parts) != 3:
            raise Unauthenticated("The token is not valid.")
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

    async def apply_agent_status(self, run: AgentRun, status: AgentStatus) -> AgentRun:
        self._check()
        if self.refusal is not None:
            raise self.refusal
        stored = self.runs.get(run.metadata.name)
        if stored is None or stored.metadata.uid != run.metadata.uid:
            raise RunGone(f"Run {run.metadata.name} was deleted.")
        self.applied.append(status)
        version = str(int(stored.metadata.resource_version) + 1)
        stored = stored.model_copy(deep=True)
        stored.metadata.resource_version = version
        # What comes back went through JSON.
        stored.status.agent = AgentStatus.model_validate(status.to_json())
        return self.put(stored)

    def _check(self) -> None:
        if self.away:
            raise ClusterUnavailable("The API server is away.")


def a_profile(name: str = "codex") -> AgentProfile:
    spec = AgentProfileSpec(backend="codex", image="agents:1", instructions="Be brief.")
    return AgentProfile(metadata=ObjectMeta(name=name, namespace="team"), spec=spec)


def a_session(name: str, uid: str) -> AgentSession:
    metadata = ObjectMeta(name=name, namespace="team", uid=uid)
    return AgentSession(metadata=metadata, spec=AgentSessionSpec(backend="codex"))
