"""
The observed state on which a decision is based.

These values are built from manifests and caches before a decision, so that decisions can be tested
without either.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from agentrun.api.pod_layout import AGENT, RUNNER
from agentrun.api.v1alpha1 import ActiveRun, AgentProfile, Outcome, Reason


class WaitClass(Enum):
    """How long a failure may persist: each class is a timeout of the operator's settings."""

    NONE = "none"
    """Not at all: the failure is permanent."""
    STUCK = "stuck"
    """Someone has to fix something: an image, a Secret, a policy."""
    START = "start"
    """The node retries, as with a disk that is still attached to another node."""
    ROOM = "room"
    """Capacity is missing, until other runs finish or nodes are added."""


@dataclass(frozen=True)
class Failure:
    """A failure that blocks a run, with its reason."""

    reason: Reason
    message: str
    wait_class: WaitClass = WaitClass.STUCK


@dataclass(frozen=True)
class ContainerObservation:
    """One container of a run's pod."""

    started: bool = False
    """Whether it runs, or has terminated."""
    exit_code: int | None = None
    """Its exit code, once it has terminated."""
    ended: datetime | None = None
    """When it terminated."""
    reason: str = ""
    """The kubelet's reason for its termination: Completed, Error, OOMKilled, StartError."""
    message: str = ""
    """Its termination message."""

    @property
    def is_over(self) -> bool:
        """Whether it has terminated."""
        return self.exit_code is not None

    @property
    def is_out_of_memory(self) -> bool:
        """
        Whether the container was terminated because it exceeded its memory limit.

        With cgroup v1, the kubelet also reports OOMKilled if only a tool of the agent was killed;
        the exit code is then that of a container that continued.
        """
        return self.met_its_memory_limit and self.exit_code != 0

    @property
    def met_its_memory_limit(self) -> bool:
        """Whether any process in it was killed because the memory limit was exceeded."""
        return self.reason == "OOMKilled"

    @property
    def never_ran(self) -> bool:
        """Whether its process could not be started."""
        return self.reason in ("StartError", "ContainerCannotRun")


@dataclass(frozen=True)
class PodObservation:
    """A pod of a run."""

    name: str
    uid: str
    attempt: int = 1
    created: datetime | None = None
    node: str = ""
    has_agent: bool = True
    """Whether it has an agent container, which a remote agent does not need."""
    finished: bool = False
    """Whether the agent's and the runner's containers have terminated, or will never start."""
    others_run: bool = False
    """Whether only containers that admission has added still run."""
    terminating_until: datetime | None = None
    """When its deletion is due, if it is being deleted."""
    failure: Failure | None = None
    """Why it does not start; None if nothing blocks it."""
    disruption: Failure | None = None
    """How the cluster disrupted it: evicted, its node lost, rejected by the kubelet."""
    gated: str = ""
    """A message on the scheduling gates that it waits for; empty if it has none."""
    waiting_for: str = ""
    """The message of its newest Event before all of its containers run."""
    init_pending: str = ""
    """The name of the init container that its containers wait for; empty if there is none."""
    init_fault: str = ""
    """A message on the init container that ended it; empty if there is none."""
    agent: ContainerObservation = ContainerObservation()
    runner: ContainerObservation = ContainerObservation()
    outcome: Outcome | None = None
    """The outcome in the runner's termination message."""

    @property
    def is_terminating(self) -> bool:
        """Whether it is being deleted."""
        return self.terminating_until is not None

    @property
    def not_started(self) -> str:
        """The name of a container that has not started yet; empty if there is none."""
        if not self.runner.started:
            return RUNNER
        return AGENT if self.has_agent and not self.agent.started else ""

    @property
    def is_half_ended(self) -> bool:
        """Whether one container has terminated and the other has not."""
        return self.has_agent and self.agent.is_over != self.runner.is_over


@dataclass(frozen=True)
class SessionObservation:
    """The session of a run."""

    name: str
    exists: bool = False
    backend: str = ""
    resource_version: str = ""
    active: ActiveRun | None = None
    """The run that holds it."""
    holder_is_over: bool = False
    """Whether that run has finished, or is gone with its pods."""
    first_in_line: str = ""
    """The oldest of its runs that has not finished and is not to be cancelled."""
    has_snapshot: bool = False
    """Whether it has a snapshot of a conversation that can be resumed."""
    snapshot_error: str = ""
    """Why it has none, if its last run reported a reason."""

    def is_held_by(self, uid: str) -> bool:
        """Whether the run with ``uid`` holds it."""
        return self.active is not None and self.active.uid == uid


@dataclass(frozen=True)
class Observed:
    """The observed state of a run."""

    session: SessionObservation
    profile: AgentProfile | None = None
    pod: PodObservation | None = None
    """The pod of the newest attempt; None means that it is known not to exist."""
    others: tuple[PodObservation, ...] = ()
    """Pods of other attempts."""
    orphaned: str = ""
    """A message if its parent was cancelled or deleted, which cancels the run; else empty."""
    has_live_children: bool = False
    """Whether runs that its agent spawned have not finished."""
    namespace_ends: bool = False
    """Whether the run has lost its pod because its namespace is being deleted."""

    @property
    def pods(self) -> tuple[PodObservation, ...]:
        """All pods of the run."""
        return self.others if self.pod is None else (self.pod, *self.others)


def seconds_after(since: datetime, seconds: int) -> datetime:
    """Return the time ``seconds`` after ``since``."""
    return since + timedelta(seconds=seconds)
