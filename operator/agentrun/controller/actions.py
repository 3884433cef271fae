"""The actions that ``decide`` returns. Each is idempotent."""

from dataclasses import dataclass
from datetime import datetime

from agentrun.api.v1alpha1 import AgentRunStatus


@dataclass(frozen=True)
class SetStatus:
    """Write the run's status, except ``status.agent``, which its runner reports."""

    status: AgentRunStatus
    guarded: bool = False
    """Whether the write is conditional on the resourceVersion that the decision was based on."""


@dataclass(frozen=True)
class CreatePod:
    """Create the pod of the attempt in the status."""


@dataclass(frozen=True)
class DeletePod:
    """Delete a pod if it still has the given uid."""

    name: str
    uid: str


@dataclass(frozen=True)
class CreateSession:
    """Create the run's session."""

    name: str
    backend: str


@dataclass(frozen=True)
class AcquireSession:
    """Make the run the holder of its session."""

    name: str
    resource_version: str


@dataclass(frozen=True)
class ReleaseSession:
    """Release the session for the next run."""

    name: str
    resource_version: str


@dataclass(frozen=True)
class DeleteRun:
    """Delete the AgentRun, whose TTL has expired."""


@dataclass(frozen=True)
class RequeueAt:
    """Reconcile the run again at the given time."""

    at: datetime


Action = (
    SetStatus
    | CreatePod
    | DeletePod
    | CreateSession
    | AcquireSession
    | ReleaseSession
    | DeleteRun
    | RequeueAt
)
