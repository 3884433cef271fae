"""The gateway's interfaces to Kubernetes, and their errors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agentrun.api.v1alpha1 import AgentProfile, AgentRun, AgentSession, AgentStatus


class UnauthenticatedError(Exception):
    """The token does not authenticate the pod of a run."""


class ClusterUnavailableError(Exception):
    """The API server cannot answer now. The request may be retried."""


class RunGoneError(Exception):
    """The AgentRun was deleted; its name may belong to another one."""


class StatusRefusedError(Exception):
    """The API server rejects this status permanently."""


Change = Callable[[AgentRun], AgentStatus | None]
"""Returns the new ``status.agent`` for the current run; None leaves it unchanged."""


@dataclass(frozen=True)
class PodIdentity:
    """The pod that a token is bound to."""

    namespace: str
    pod_name: str
    pod_uid: str


class PodAuthenticator(Protocol):
    """Authenticates the pod that a token is bound to."""

    async def authenticate(self, token: str) -> PodIdentity:
        """Return the pod. Raises UnauthenticatedError or ClusterUnavailableError."""


class RunDirectory(Protocol):
    """Uncached access to the cluster. Every method may raise ClusterUnavailableError."""

    async def get(self, namespace: str, name: str) -> AgentRun | None:
        """Return the AgentRun; None if it does not exist."""

    async def profile(self, namespace: str, name: str) -> AgentProfile | None:
        """Return the AgentProfile; None if it does not exist."""

    async def session(self, namespace: str, name: str) -> AgentSession | None:
        """Return the AgentSession; None if it does not exist."""

    async def change_agent_status(self, run: AgentRun, change: Change) -> AgentRun:
        """
        Replace the run's ``status.agent`` with the result of ``change``; return the AgentRun.

        ``run`` is the newest known version. On a conflict, ``change`` is called again with the
        newer version, so that no concurrent write is lost. The status is durable when this
        returns. If ``change`` returns None, ``run`` itself is returned. Raises RunGoneError,
        StatusRefusedError, and the errors of ``change``.
        """
