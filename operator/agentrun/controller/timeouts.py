"""
The timeouts of runs.

A run may request a shorter timeout than its profile allows, never a longer one. If neither sets
one, the operator's settings apply.
"""

from dataclasses import dataclass
from datetime import timedelta

from agentrun.api.pod_layout import COLLECT_SECONDS
from agentrun.api.v1alpha1 import AgentProfile, AgentRun, Timeouts

_MARGIN = 30
"""Extra seconds in which a runner can report its own timeout before the operator stops it."""


@dataclass(frozen=True)
class OperatorTimeouts:
    """The operator's timeouts, in seconds."""

    start: int = 300
    """How long a scheduled pod may take until its containers run."""
    stuck: int = 60
    """How long a failure that someone may fix (such as a missing image) may persist."""
    unschedulable: int = 600
    """How long a pod may wait for capacity: a node that fits, or quota."""
    gateway: int = 600
    """How long a runner retries an unavailable gateway when nothing else is left to do."""
    ttl: int = 604_800
    """How long a finished AgentRun is retained."""
    deadline: int = 4 * 3600
    """How long a run may work, without the time it waits for input."""
    input: int = 86_400
    """How long a run may wait for input."""
    idle: int = 1800
    """How long the pod of a run that waits for input is kept."""
    grace: int = 30
    """How long a run that is stopped may take to ship its final events."""
    agent_after_runner: int = 30
    """How long the agent container may outlive the runner container."""
    unreachable: int = 30
    """How long a pod's deletion may be overdue before its node counts as lost."""

    @property
    def delivery(self) -> int:
        """How long a runner may take after its agent exited to collect and deliver the change."""
        return self.gateway + COLLECT_SECONDS + _MARGIN

    @property
    def report(self) -> int:
        """How long a runner may take to report after its pod was scheduled."""
        return self.start + self.gateway + _MARGIN


@dataclass(frozen=True)
class RunTimeouts:
    """The effective timeouts of one run; ``grace`` and ``idle`` are in seconds."""

    deadline: timedelta
    input: timedelta
    grace: int
    idle: int


def timeouts_of(
    run: AgentRun, profile: AgentProfile | None, limits: OperatorTimeouts
) -> RunTimeouts:
    """Return the effective timeouts of ``run``."""
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
    """Return the requested value, at most the granted one; the default if neither is set."""
    if asked is None:
        return default if granted is None else granted
    return asked if granted is None else min(asked, granted)
