"""The actions that deciding can ask for. Each may be carried out twice without harm."""

from dataclasses import dataclass
from datetime import datetime

from agentrun.api.v1alpha1 import AgentRunStatus


@dataclass(frozen=True)
class SetStatus:
    """Write the run's status, all but what its runner says."""

    status: AgentRunStatus
    guarded: bool = False
    """Whether the write holds only for the very version of the run that was decided on."""


@dataclass(frozen=True)
class CreatePod:
    """Create the pod of the attempt that the status names."""


@dataclass(frozen=True)
class DeletePod:
    """Delete a pod, if it still is the one that was meant."""

    name: str
    uid: str


@dataclass(frozen=True)
class CreateSession:
    """Create the run's session."""

    name: str
    backend: str


@dataclass(frozen=True)
class AcquireSession:
    """Make the run the one that holds its session."""

    name: str
    resource_version: str


@dataclass(frozen=True)
class ReleaseSession:
    """Free the run's session for the next."""

    name: str
    resource_version: str


@dataclass(frozen=True)
class DeleteRun:
    """Delete the AgentRun: it was kept as long as it should be."""


@dataclass(frozen=True)
class RequeueAt:
    """Decide again at a time at which something is due."""

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
