"""
The deadlines at which a run must be stopped.

A deadline in the past stops the run; the next one in the future determines the requeue. So no
deadline depends on a timer that could be lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from agentrun.api.v1alpha1 import ConditionType, Reason
from agentrun.controller.endings import fault_of, has_pending_input
from agentrun.controller.facts import Facts
from agentrun.controller.observed import WaitClass, seconds_after
from agentrun.controller.settings import OperatorTimeouts
from agentrun.controller.status import condition_of


@dataclass(frozen=True)
class Deadline:
    """A time at which a run must be stopped, and why."""

    at: datetime
    reason: Reason
    message: str


def deadlines_of(facts: Facts) -> list[Deadline]:
    """Return the deadlines that apply to a run, by precedence."""
    is_finished = facts.pod is not None and facts.pod.finished
    if facts.has_ended or (is_finished and not facts.waits_without_pod):
        return []
    if is_finished or facts.has_exited_to_wait:
        return list(_work_deadline(facts))
    return [
        *_work_deadline(facts),
        *_error_deadline(facts),
        *_scheduling_deadline(facts),
        *_start_deadline(facts),
        *_half_ended_deadline(facts),
    ]


def _work_deadline(facts: Facts) -> Iterator[Deadline]:
    """Limit the time a run works or, while it waits for input, the time it waits."""
    status, pod = facts.run.status, facts.pod
    allowed = facts.timeouts
    if status.waiting_since is not None:
        if has_pending_input(facts.run) and (
            pod is None or pod.finished or facts.has_exited_to_wait
        ):
            return  # An answer is pending: the next attempt is about to begin.
        at = seconds_after(status.waiting_since, allowed.input)
        message = f"Nobody answered within {allowed.input} s."
        yield Deadline(at, Reason.INPUT_TIMEOUT, message)
    elif status.start_time is not None:
        at = seconds_after(status.start_time, allowed.deadline + (status.waited_seconds or 0))
        if pod is not None and pod.gated:
            message = f"The pod was not scheduled within {allowed.deadline} s. {pod.gated}"
            yield Deadline(at, Reason.SCHEDULING_GATED, message)
            return
        message = f"The run worked longer than {allowed.deadline} s."
        yield Deadline(at, Reason.DEADLINE_EXCEEDED, message)


def _error_deadline(facts: Facts) -> Iterator[Deadline]:
    """Limit how long a failure may persist."""
    failure = facts.failure
    if failure is None:
        return
    since = _since(facts, ConditionType.AGENT_READY, "False")
    wait = _seconds(failure.wait_class, facts.settings)
    yield Deadline(seconds_after(since, wait), failure.reason, failure.message)


def _seconds(wait_class: WaitClass, timeouts: OperatorTimeouts) -> int:
    match wait_class:
        case WaitClass.NONE:
            return 0
        case WaitClass.STUCK:
            return timeouts.stuck
        case WaitClass.START:
            return timeouts.start
        case WaitClass.ROOM:
            return timeouts.unschedulable


def _scheduling_deadline(facts: Facts) -> Iterator[Deadline]:
    """Limit how long a pod may be unscheduled while no scheduler reports why."""
    pod = facts.pod
    if pod is None or pod.created is None or pod.node or facts.failure is not None:
        return
    if pod.gated:
        return  # A queue may take as long as the run.
    message = (
        f"Pod {pod.name} is not scheduled, and no scheduler has reported why. Check that the"
        " scheduler of the pod is running."
    )
    at = seconds_after(pod.created, facts.settings.unschedulable)
    yield Deadline(at, Reason.UNSCHEDULABLE, message)


def _start_deadline(facts: Facts) -> Iterator[Deadline]:
    """
    Limit how long a scheduled pod takes until both containers run and its runner reports.

    A runner that cannot reach the gateway reports that itself; the deadline allows for it. If the
    cause that keeps a container from starting is known, it is the reason.
    """
    pod, agent, failure = facts.pod, facts.agent, facts.failure
    if pod is None or not pod.node or pod.is_terminating:
        return
    if waiting := pod.not_started:
        seconds = facts.settings.start
        message = f"Container {waiting} of pod {pod.name} did not start within {seconds} s."
        if pod.init_pending:
            message += f" Its init container {pod.init_pending} has not completed."
        if pod.waiting_for:
            message += f" {pod.waiting_for}"
    elif agent is None or agent.state is None:
        seconds = facts.settings.report
        message = f"The runner of pod {pod.name} did not report within {seconds} s."
    else:
        return
    at = seconds_after(_since(facts, ConditionType.POD_SCHEDULED, "True"), seconds)
    if failure is not None:
        yield Deadline(at, failure.reason, failure.message)
    else:
        yield Deadline(at, Reason.START_TIMEOUT, message)


def _half_ended_deadline(facts: Facts) -> Iterator[Deadline]:
    """
    Limit how long one container outlives the other.

    An agent without its runner is of no use. A runner without its agent still has to collect the
    change and ship events, unless it has not sent the prompt to the agent.
    """
    pod, agent = facts.pod, facts.agent
    if pod is None or pod.is_terminating or not pod.is_half_ended:
        return
    if pod.runner.is_over:
        seconds = facts.settings.agent_after_runner
    elif agent is not None and agent.prompt_sent:
        seconds = facts.settings.delivery
    else:
        seconds = facts.settings.start
    at = seconds_after(_since(facts, ConditionType.AGENT_READY, "False"), seconds)
    fault = fault_of(pod)
    yield Deadline(at, Reason(fault.reason), fault.message)


def _since(facts: Facts, kind: ConditionType, value: str) -> datetime:
    """
    Return since when a condition has ``value``; now if it does not have it yet.

    The operator recorded that time by its own clock, while a node's clock may be off by hours.
    """
    condition = condition_of(facts.run.status, kind)
    if condition is None or condition.status != value:
        return facts.now
    return condition.last_transition_time or facts.now
