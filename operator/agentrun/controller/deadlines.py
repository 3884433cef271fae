"""
The deadlines at which a run must be stopped, and why.

A deadline in the past stops the run; the next one in the future determines the requeue. So no
deadline depends on a timer that could be lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from agentrun.api.v1alpha1 import AgentRun, ConditionType, Reason
from agentrun.controller.endings import (
    fault_of,
    has_ended,
    has_pending_input,
    is_waiting_outcome,
    outcome_of,
    waits_without_pod,
)
from agentrun.controller.observed import Failure, Observed, PodObservation, WaitClass, seconds_after
from agentrun.controller.status import agent_of, condition_of
from agentrun.controller.timeouts import OperatorTimeouts, timeouts_of


@dataclass(frozen=True)
class Deadline:
    """A time at which a run must be stopped, and why."""

    at: datetime
    reason: Reason
    message: str


def deadlines_of(
    run: AgentRun, observed: Observed, failure: Failure | None, now: datetime
) -> list[Deadline]:
    """Return the deadlines that apply to a run, by precedence."""
    outcome, is_over = outcome_of(run, observed.pod), bool(observed.pod and observed.pod.finished)
    if has_ended(outcome) or (is_over and not waits_without_pod(run, observed.pod)):
        return []
    if is_over or is_waiting_outcome(outcome):
        return list(_work_deadline(run, observed, now))
    return [
        *_work_deadline(run, observed, now),
        *_error_deadline(run, observed, failure, now),
        *_scheduling_deadline(observed, failure),
        *_start_deadline(run, observed, failure, now),
        *_half_ended_deadline(run, observed, now),
    ]


def _work_deadline(run: AgentRun, observed: Observed, now: datetime) -> Iterator[Deadline]:
    """Limit the time a run works or, while it waits for input, the time it waits."""
    status = run.status
    allowed = timeouts_of(run, observed.profile, observed.limits)
    is_on_its_way = has_pending_input(run) and (
        observed.pod is None
        or observed.pod.finished
        or is_waiting_outcome(outcome_of(run, observed.pod))
    )
    if status.waiting_since is not None and is_on_its_way:
        return  # An answer is pending: the next attempt is about to begin.
    if status.waiting_since is not None:
        message = f"Nobody answered within {allowed.input.total_seconds():.0f} s."
        yield Deadline(status.waiting_since + allowed.input, Reason.INPUT_TIMEOUT, message)
    elif status.start_time is not None:
        seconds = allowed.deadline.total_seconds()
        at = seconds_after(status.start_time + allowed.deadline, status.waited_seconds or 0)
        yield Deadline(at, Reason.DEADLINE_EXCEEDED, f"The run worked longer than {seconds:.0f} s.")


def _error_deadline(
    run: AgentRun, observed: Observed, failure: Failure | None, now: datetime
) -> Iterator[Deadline]:
    """Limit how long a failure may persist."""
    if failure is None:
        return
    since = _since(run, ConditionType.AGENT_READY, "False") or now
    wait = _seconds(failure.wait_class, observed.limits)
    yield Deadline(seconds_after(since, wait), failure.reason, failure.message)


def _seconds(wait_class: WaitClass, limits: OperatorTimeouts) -> int:
    match wait_class:
        case WaitClass.NONE:
            return 0
        case WaitClass.STUCK:
            return limits.stuck
        case WaitClass.START:
            return limits.start
        case WaitClass.ROOM:
            return limits.unschedulable


def _scheduling_deadline(observed: Observed, failure: Failure | None) -> Iterator[Deadline]:
    """Limit how long a pod may be unscheduled while no scheduler reports why."""
    pod = observed.pod
    if pod is None or pod.created is None or pod.node or failure is not None:
        return
    message = (
        f"Pod {pod.name} is not scheduled, and no scheduler has reported why. Check that the"
        " scheduler of the pod is running."
    )
    at = seconds_after(pod.created, observed.limits.unschedulable)
    yield Deadline(at, Reason.UNSCHEDULABLE, message)


def _start_deadline(
    run: AgentRun, observed: Observed, failure: Failure | None, now: datetime
) -> Iterator[Deadline]:
    """
    Limit how long a scheduled pod takes until both containers run and its runner reports.

    A runner that cannot reach the gateway reports that itself; the deadline allows for it. If the
    cause that keeps a container from starting is known, it is the reason.
    """
    pod, agent = observed.pod, agent_of(run)
    if pod is None or not pod.node or pod.is_terminating:
        return
    since = _since(run, ConditionType.POD_SCHEDULED, "True") or now
    if waiting := pod.not_started:
        seconds = observed.limits.start
        message = f"Container {waiting} of pod {pod.name} did not start within {seconds} s."
        if pod.waiting_for:
            message += f" {pod.waiting_for}"
    elif agent is None or agent.state is None:
        seconds = observed.limits.report
        message = f"The runner of pod {pod.name} did not report within {seconds} s."
    else:
        return
    if failure is not None:
        yield Deadline(seconds_after(since, seconds), failure.reason, failure.message)
    else:
        yield Deadline(seconds_after(since, seconds), Reason.START_TIMEOUT, message)


def _half_ended_deadline(run: AgentRun, observed: Observed, now: datetime) -> Iterator[Deadline]:
    """
    Limit how long one container outlives the other.

    An agent without its runner is of no use. A runner without its agent still has to collect the
    change and ship events, unless it has not sent the prompt to the agent.
    """
    pod = observed.pod
    if pod is None or pod.is_terminating or not pod.is_half_ended:
        return
    since = _since(run, ConditionType.AGENT_READY, "False") or now
    agent = agent_of(run)
    if pod.runner.is_over:
        seconds = observed.limits.agent_after_runner
    elif agent is not None and agent.prompt_sent:
        seconds = observed.limits.delivery
    else:
        seconds = observed.limits.start
    fault = fault_of(pod)
    yield Deadline(seconds_after(since, seconds), Reason(fault.reason), fault.message)


def _since(run: AgentRun, kind: ConditionType, value: str) -> datetime | None:
    """
    Return since when a condition has ``value``; None if it does not have it.

    The operator recorded that time by its own clock, while a node's clock may be off by hours.
    """
    condition = condition_of(run.status, kind)
    is_so = condition is not None and condition.status == value
    return condition.last_transition_time if condition and is_so else None


def unreachable_at(pod: PodObservation, observed: Observed) -> datetime | None:
    """Return when the node of a terminating pod counts as lost; None if it is not terminating."""
    due = pod.terminating_until
    return None if due is None else seconds_after(due, observed.limits.unreachable)
