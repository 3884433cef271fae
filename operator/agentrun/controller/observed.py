"""
What deciding needs to know of the world, and no more.

These values are made from manifests and caches before anything is decided, so that a decision
can be tested without either.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agentrun.api.v1alpha1 import ActiveRun, AgentProfile, Outcome, Reason
from agentrun.controller.limits import Limits


@dataclass(frozen=True)
class Failure:
    """A named error that keeps a run from going on."""

    reason: Reason
    message: str
    final: bool = False
    """Whether waiting cannot help."""


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
        return self.reason == "OOMKilled" and self.exit_code != 0

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
    finished: bool = False
    """Whether no container of it is left."""
    terminating_until: datetime | None = None
    """When its deletion is due, if it is being deleted."""
    failure: Failure | None = None
    """Why it cannot start."""
    disruption: Failure | None = None
    """What the cluster did to it: evicted, its node lost, refused by the kubelet."""
    waiting_for: str = ""
    """What it is doing before its containers run, in a sentence."""
    agent: ContainerObservation = ContainerObservation()
    runner: ContainerObservation = ContainerObservation()
    outcome: Outcome | None = None
    """What the runner left in its termination message."""

    @property
    def is_terminating(self) -> bool:
        """Whether it is being deleted."""
        return self.terminating_until is not None


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
    """Why the API server has just refused the pod."""
    namespace_ends: bool = False
    """Whether the run has lost its pod because its namespace is being deleted."""
    limits: Limits = field(default_factory=Limits)

    @property
    def pods(self) -> tuple[PodObservation, ...]:
        """All pods of the run."""
        return self.others if self.pod is None else (self.pod, *self.others)


def later(since: datetime, seconds: int) -> datetime:
    """Say when ``seconds`` after ``since`` is."""
    return since + timedelta(seconds=seconds)
