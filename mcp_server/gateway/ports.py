"""What the gateway needs of Kubernetes, and how the answers may fail."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agentrun.api.v1alpha1 import AgentProfile, AgentRun, AgentSession, AgentStatus


class UnauthenticatedError(Exception):
    """The token does not say which pod speaks."""


class ClusterUnavailableError(Exception):
    """The API server cannot answer just now; trying again may help."""


class RunGoneError(Exception):
    """The AgentRun no longer exists, or its name belongs to another by now."""


class StatusRefusedError(Exception):
    """The API server will not take this status, now or later."""


Change = Callable[[AgentRun], AgentStatus | None]
"""Makes the new ``status.agent`` of a run from the run as it is; None leaves it alone."""


@dataclass(frozen=True)
class PodIdentity:
    """The pod that a token is bound to."""

    namespace: str
    pod_name: str
    pod_uid: str


class PodAuthenticator(Protocol):
    """Whoever can say which pod a token belongs to."""

    async def authenticate(self, token: str) -> PodIdentity:
        """Return the pod. Raises Unauthenticated, or ClusterUnavailable."""


class RunDirectory(Protocol):
    """The cluster's objects, as they are now. Every method may raise ClusterUnavailable."""

    async def get(self, namespace: str, name: str) -> AgentRun | None:
        """Return the AgentRun."""

    async def profile(self, namespace: str, name: str) -> AgentProfile | None:
        """Return the AgentProfile."""

    async def session(self, namespace: str, name: str) -> AgentSession | None:
        """Return the AgentSession."""

    async def change_agent_status(self, run: AgentRun, change: Change) -> AgentRun:
        """
        Make what ``change`` says the whole of the run's ``status.agent``; return the AgentRun.

        ``run`` is the newest version known. If the run has changed since, ``change`` is asked
        again with the newer one, so that nothing another process wrote meanwhile is lost. The
        status is durable once this returns. Raises RunGone and StatusRefused, and whatever
        ``change`` raises.
        """
