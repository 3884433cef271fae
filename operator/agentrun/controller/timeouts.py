"""
The bounds on how long things may take.

A run may ask for less than its profile allows, never for more; what neither says, the operator's
settings say.
"""

from dataclasses import dataclass
from datetime import timedelta

from agentrun.api.pod_layout import COLLECT_SECONDS
from agentrun.api.v1alpha1 import AgentProfile, AgentRun, Timeouts

_MARGIN = 30
"""So that a runner that keeps its bound can say so before the operator ends it."""


@dataclass(frozen=True)
class OperatorTimeouts:
    """The operator's own bounds, in seconds."""

    start: int = 300
    """How long a pod that has a node may take until its containers run."""
    stuck: int = 60
    """How long a named error that somebody may mend (no such image yet) is waited out."""
    unschedulable: int = 600
    """How long a pod may wait for room: a node that takes it, or its share of a quota."""
    gateway: int = 600
    """How long a runner waits for a gateway that is away, when nothing else is left to do."""
    ttl: int = 604_800
    """How long a finished AgentRun is kept."""
    deadline: int = 4 * 3600
    """How long a run may work."""
    input: int = 86_400
    """How long a run may wait for a person."""
    idle: int = 1800
    """How long the pod of a run that waits for a person is kept."""
    grace: int = 30
    """How long a run that is stopped may take to ship its last events."""
    agent_after_runner: int = 30
    """How long the agent's container may outlive the runner's."""
    unreachable: int = 30
    """How long after its deletion was due a pod counts as being on a node that is lost."""

    @property
    def delivery(self) -> int:
        """How long a runner may take, after its agent, to collect a change and to deliver it."""
        return self.gateway + COLLECT_SECONDS + _MARGIN

    @property
    def report(self) -> int:
        """How long after its pod got a node a runner may take to report."""
        return self.start + self.gateway + _MARGIN


@dataclass(frozen=True)
class RunTimeouts:
    """The bounds that hold for one run."""

    deadline: timedelta
    input: timedelta
    grace: int
    idle: int


def timeouts_of(
    run: AgentRun, profile: AgentProfile | None, limits: OperatorTimeouts
) -> RunTimeouts:
    """Work out the bounds that hold for ``run``."""
    asked = run.spec.timeouts or Timeouts()
    granted = profile.spec.timeouts if profile else Timeouts()
    return RunTimeouts(
        deadline=_seconds(
            asked.active_deadline_seconds, granted.active_deadline_seconds, limits.deadline
        ),
        input=_seconds(asked.input_timeout_seconds, granted.input_timeout_seconds, limits.input),
        grace=_lesser(
            asked.termination_grace_period_seconds,
            granted.termination_grace_period_seconds,
            limits.grace,
        ),
        idle=_lesser(asked.idle_timeout_seconds, granted.idle_timeout_seconds, limits.idle),
    )


def _seconds(asked: int | None, granted: int | None, default: int) -> timedelta:
    return timedelta(seconds=_lesser(asked, granted, default))


def _lesser(asked: int | None, granted: int | None, default: int) -> int:
    """Take what was asked, cut to what was granted; without either, the default."""
    if asked is None:
        return default if granted is None else granted
    return asked if granted is None else min(asked, granted)
