"""
What deciding needs to know of the world, and no more.

These values are made from manifests and caches before anything is decided, so that a decision
can be tested without either.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from agentrun.api.pod_layout import AGENT, RUNNER
from agentrun.api.v1alpha1 import ActiveRun, AgentProfile, Outcome, Reason
from agentrun.controller.timeouts import OperatorTimeouts


class WaitClass(Enum):
    """How long an error is waited out: each is a bound of the operator's settings."""

    NONE = "none"
    """Waiting cannot help."""
    STUCK = "stuck"
    """Somebody has to mend something: an image, a Secret, a policy."""
    START = "start"
    """The node goes on trying, as with a disk that another node has not let go of yet."""
    ROOM = "room"
    """Room is wanted, which ends of other runs or new nodes bring."""


@dataclass(frozen=True)
class Failure:
    """A named error that keeps a run from going on."""

    reason: Reason
    message: str
    wait_class: WaitClass = WaitClass.STUCK


@dataclass(frozen=True)
class ContainerObservation:
    """One container of a run's pod."""

    started: bool = False
    """Whether it runs, or has run."""
    exit_code: int | None = None
    """Its exit code, once it has ended."""
    ended: datetime | None = None
    """When it ended."""
    reason: str = ""
    """The kubelet's word for its end: Completed, Error, OOMKilled, StartError."""
    message: str = ""
    """Its termination message."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.exit_code is not None

    @property
    def is_out_of_memory(self) -> bool:
        """
        Whether it was ended for the memory it took.

        With cgroup v1 the kubelet says OOMKilled also when only a tool of the agent was killed;
        the exit code is then that of a container that went on.
        """
        return self.met_its_memory_limit and self.exit_code != 0

    @property
    def met_its_memory_limit(self) -> bool:
        """Whether any process in it was ended for the memory it took."""
        return self.reason == "OOMKilled"

    @property
    def never_ran(self) -> bool:
        """Whether its process could not even be started."""
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
    """Whether it has a container for the agent; a remote agent needs none."""
    finished: bool = False
    """Whether no container of it is left."""
    terminating_until: datetime | None = None
    """When its deletion is due, if it is being deleted."""
    failure: Failure | None = None
    """Why it cannot start."""
    disruption: Failure | None = None
    """What the cluster did to it: evicted, its node lost, refused by the kubelet."""
    waiting_for: str = ""
    """What it is doing before all of its containers run, in a sentence."""
    agent: ContainerObservation = ContainerObservation()
    runner: ContainerObservation = ContainerObservation()
    outcome: Outcome | None = None
    """What the runner left in its termination message."""

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
        """Whether one container has ended and the other has not."""
        return self.has_agent and self.agent.is_over != self.runner.is_over


@dataclass(frozen=True)
class SessionObservation:
    """The session of a run."""

    name: str
    exists: bool = False
    backend: str = ""
    resource_version: str = ""
    active: ActiveRun | None = None
    """Who holds it."""
    holder_is_over: bool = False
    """Whether that run is finished, or gone with its pods."""
    first_in_line: str = ""
    """The first by name of the runs that wait for it."""
    has_snapshot: bool = False
    """Whether it holds a conversation that can be resumed."""
    snapshot_error: str = ""
    """Why it does not, where its last run said so."""

    def is_held_by(self, uid: str) -> bool:
        """Whether the run with ``uid`` holds it."""
        return self.active is not None and self.active.uid == uid


@dataclass(frozen=True)
class Observed:
    """What is there, as far as a run is concerned."""

    session: SessionObservation
    profile: AgentProfile | None = None
    pod: PodObservation | None = None
    """The pod of the newest attempt; None means that it is known not to exist."""
    others: tuple[PodObservation, ...] = ()
    """Pods of other attempts."""
    refusal: Failure | None = None
    """Why the API server has just refused the pod, or the session."""
    orphaned: str = ""
    """What became of its parent, if that means that the run is not wanted any more."""
    has_live_children: bool = False
    """Whether runs that its agent asked for are not over."""
    namespace_ends: bool = False
    """Whether the run has lost its pod because its namespace is being deleted."""
    limits: OperatorTimeouts = field(default_factory=OperatorTimeouts)

    @property
    def pods(self) -> tuple[PodObservation, ...]:
        """All pods of the run."""
        return self.others if self.pod is None else (self.pod, *self.others)


def seconds_after(since: datetime, seconds: int) -> datetime:
    """Say when ``seconds`` after ``since`` is."""
    return since + timedelta(seconds=seconds)
