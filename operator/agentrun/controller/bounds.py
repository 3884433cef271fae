"""
The times at which a run must be stopped, and why.

A bound in the past stops the run; the next one in the future says when to look again. So no
bound needs a timer that could be forgotten.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from agentrun.api.v1alpha1 import AgentRun, ConditionType, Reason
from agentrun.controller.limits import allowance
from agentrun.controller.observed import Failure, Observed, PodObservation, later
from agentrun.controller.outcomes import fault_of, has_ended, outcome_of
from agentrun.controller.status import agent_of, condition_of


@dataclass(frozen=True)
class Bound:
    """A time at which a run is to be stopped."""

    at: datetime
    reason: Reason
    message: str


def bounds_of(run: AgentRun, seen: Observed, failure: Failure | None, now: datetime) -> list[Bound]:
    """List the bounds that hold for a run, those that matter most first."""
    if has_ended(outcome_of(run, seen.pod)) or (seen.pod and seen.pod.finished):
        return []
    return [
        *_working(run, seen, now),
        *_stuck(run, seen, failure, now),
        *_starting(run, seen),
        *_half_ended(seen),
    ]


def _working(run: AgentRun, seen: Observed, now: datetime) -> Iterator[Bound]:
    """Bound the work, or while the run waits for a person, the waiting."""
    status = run.status
    allowed = allowance(run, seen.profile, seen.limits)
    if status.waiting_since is not None:
        message = f"Nobody answered within {allowed.input.total_seconds():.0f} s."
        yield Bound(status.waiting_since + allowed.input, Reason.INPUT_TIMEOUT, message)
    elif status.start_time is not None:
        seconds = allowed.deadline.total_seconds()
        at = later(status.start_time + allowed.deadline, status.waited_seconds or 0)
        yield Bound(at, Reason.DEADLINE_EXCEEDED, f"The run worked longer than {seconds:.0f} s.")


def _stuck(
    run: AgentRun, seen: Observed, failure: Failure | None, now: datetime
) -> Iterator[Bound]:
    """Bound how long a named error is waited out."""
    if failure is None:
        return
    condition = condition_of(run.status, ConditionType.AGENT_READY)
    since = now
    if condition and condition.status == "False" and condition.last_transition_time:
        since = condition.last_transition_time
    wait = 0 if failure.final else seen.limits.stuck
    yield Bound(later(since, wait), failure.reason, failure.message)


def _starting(run: AgentRun, seen: Observed) -> Iterator[Bound]:
    """Bound how long a pod takes until its runner reports."""
    agent = agent_of(run)
    if seen.pod is None or seen.pod.created is None or (agent and agent.state):
        return
    seconds = seen.limits.start
    message = f"Pod {seen.pod.name} did not come to work within {seconds} s."
    if seen.pod.waiting_for:
        message += f" {seen.pod.waiting_for}"
    yield Bound(later(seen.pod.created, seconds), Reason.START_TIMEOUT, message)


def _half_ended(seen: Observed) -> Iterator[Bound]:
    """
    Bound how long one container outlives the other.

    An agent without its runner is of no use. A runner without its agent still has the change to
    collect and events to ship.
    """
    pod = seen.pod
    if pod is None or pod.is_terminating or pod.agent.is_over == pod.runner.is_over:
        return
    over = pod.runner if pod.runner.is_over else pod.agent
    if over.ended is None:
        return
    seconds = seen.limits.agent_after_runner if pod.runner.is_over else seen.limits.start
    fault = fault_of(pod)
    yield Bound(later(over.ended, seconds), Reason(fault.reason), fault.message)


def unreachable_at(pod: PodObservation, seen: Observed) -> datetime | None:
    """Say from when on a pod that does not go counts as being on a lost node."""
    due = pod.terminating_until
    return None if due is None else later(due, seen.limits.unreachable)
