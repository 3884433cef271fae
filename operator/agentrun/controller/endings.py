"""
How a run ends, or waits for input, when nothing of its pod runs any more.

In order of precedence, an attempt's end is: a completed prompt turn, a disruption of the pod, the
outcome of the runner, the state of the containers, the absence of the pod. A completed turn comes
first because nothing that happens to the pod afterwards undoes the work.

A pod is terminated when its run waits for long, and a run that waits survives the loss of its pod.
The run then resumes from the snapshot alone: the snapshot records which inputs it contains, and
every later input is sent again.
"""

from dataclasses import dataclass, replace

from agentrun.api.pod_layout import describe_exit
from agentrun.api.v1alpha1 import (
    AgentRun,
    AgentState,
    ConditionType,
    Outcome,
    OutcomeState,
    Phase,
    Reason,
)
from agentrun.backends import backend_of
from agentrun.controller.observed import Failure, PodObservation
from agentrun.controller.status import agent_of, condition_of, waiting_phase

_FINISHED = {OutcomeState.COMPLETED: Phase.COMPLETED, OutcomeState.REJECTED: Phase.REJECTED}
_DEFAULT_REASON = {
    Phase.COMPLETED: Reason.COMPLETED,
    Phase.REJECTED: Reason.REFUSED,
    Phase.FAILED: Reason.RUNNER_FAILED,
}
_LOSSES = frozenset({Reason.EVICTED, Reason.POD_DELETED, Reason.NODE_LOST})


@dataclass(frozen=True)
class Ending:
    """How a run ends."""

    phase: Phase
    reason: str
    message: str
    lost: bool = False
    """Whether the pod was lost through no fault of the agent, so that a retry is allowed."""


def outcome_of(run: AgentRun, pod: PodObservation | None) -> Outcome | None:
    """
    Return the outcome of the newest attempt; None if there is none.

    The gateway's copy takes precedence over the termination message.
    """
    reported = run.status.agent.outcome if run.status.agent else None
    for outcome in (reported, pod.outcome if pod else None):
        if outcome is not None and outcome.attempt == run.attempts:
            return outcome
    return None


def has_ended(outcome: Outcome | None) -> bool:
    """Whether the attempt ended by itself rather than being interrupted."""
    return outcome is not None and outcome.state is not OutcomeState.INTERRUPTED


def ending_of(run: AgentRun, pod: PodObservation | None) -> Ending:
    """Return how the newest attempt ended, given that nothing of its pod runs."""
    outcome = outcome_of(run, pod)
    if outcome is not None and outcome.state in _FINISHED:
        return _message_of(outcome, _FINISHED[outcome.state])
    disruption = pod.disruption if pod else _remembered(run)
    if disruption is not None:
        return _lost(disruption)
    if outcome is not None and has_ended(outcome):
        return _message_of(_with_cause(outcome, pod), Phase.FAILED)
    if pod is None or pod.is_terminating or outcome is not None:
        return _lost(Failure(Reason.POD_DELETED, f"The pod of attempt {run.attempts} was deleted."))
    return fault_of(pod)


def fault_of(pod: PodObservation) -> Ending:
    """Return why a pod ended without an outcome, from the state of its containers."""
    if pod.init_fault:
        return _failed(Reason.CONTAINER_START_FAILED, pod.init_fault)
    if not (pod.agent.started or pod.runner.started):
        message = f"Pod {pod.name} ended before its containers started."
        return _failed(Reason.CONTAINER_START_FAILED, message)
    for name, container in (("agent", pod.agent), ("runner", pod.runner)):
        if container.is_out_of_memory:
            return _failed(Reason.OUT_OF_MEMORY, _memory(name, pod))
        if container.never_ran:
            return _failed(
                Reason.CONTAINER_START_FAILED,
                f"Container {name} of pod {pod.name} could not be started: {container.message}",
            )
    code = pod.runner.exit_code
    if code is None:
        return _failed(
            Reason.AGENT_EXITED,
            f"Container agent of pod {pod.name} terminated ({describe_exit(pod.agent.exit_code)}),"
            " and the runner reported no outcome.",
        )
    reported = pod.runner.message.strip()
    return _failed(
        Reason.RUNNER_FAILED,
        f"The runner of pod {pod.name} terminated ({describe_exit(code)}) without an outcome."
        + (f" {reported}" if reported else ""),
    )


def has_pending_input(run: AgentRun) -> bool:
    """Whether there is an input that the next attempt does not have in its snapshot."""
    agent = run.status.agent
    known = agent.acknowledged_input if agent else None
    if agent is not None and agent.kept is not None:
        known = agent.kept.acknowledged_input
    return run.newest_input > (known or 0)


def has_unsaved_progress(run: AgentRun) -> bool:
    """Whether the newest attempt sent its agent anything that is not in the snapshot."""
    agent = run.status.agent
    if agent is None or not agent.prompt_sent:
        return False
    if agent.kept is None or not run.status.continuations:
        return True
    is_new = agent_of(run) is None or agent.state is AgentState.PREPARING
    return not is_new and (agent.acknowledged_input or 0) > agent.kept.acknowledged_input


def phase_without_pod(run: AgentRun) -> tuple[Phase, Reason, str]:
    """Return the phase, reason and message of a run that waits without a running agent."""
    agent = run.status.agent
    question = agent.question if agent else None
    # The state may be that of the last report before the end, so the question counts as well.
    needs_auth = question is not None and question.kind == "auth"
    needs_auth |= agent is not None and agent.state is AgentState.AUTH_REQUIRED
    return waiting_phase(question, needs_auth)


def not_resumable_ending(run: AgentRun) -> Ending:
    """Return the ending of a run that waits without a snapshot, so that no answer can resume it."""
    reported = run.status.agent.snapshot_error if run.status.agent else None
    why = reported or "The runner stored no snapshot of the conversation."
    message = f"The run cannot resume after its wait: {why} Run it again from the start."
    return Ending(Phase.FAILED, Reason.SESSION_NOT_RESUMABLE, message)


def remote_task_message(run: AgentRun) -> str | None:
    """
    Return a message on the state of the run's remote task; None if there is no such task.

    It is the message of the runner's outcome, else a warning that the task was not cancelled.
    """
    if not backend_of(run.spec.backend).is_remote:
        return None
    outcome = outcome_of(run, None)
    if outcome is not None and not outcome.waiting:
        return outcome.message
    ref = run.status.agent.remote_ref if run.status.agent else None
    if ref is None or ref.task_id is None:
        return None
    return (
        f"Remote task {ref.task_id} of {ref.agent_url} was not cancelled, because the run had no"
        " pod to cancel it. The task may still be working or waiting."
    )


def with_remote_task(run: AgentRun, ending: Ending) -> Ending:
    """Add that message to the ending of a run that lost its pod, as the task may still run."""
    if has_ended(outcome_of(run, None)):
        return ending
    message = " ".join(filter(None, (ending.message, remote_task_message(run))))
    return replace(ending, message=message)


def _remembered(run: AgentRun) -> Failure | None:
    """Return the disruption that PodTerminated recorded before the pod was gone."""
    condition = condition_of(run.status, ConditionType.POD_TERMINATED)
    if condition is None or condition.reason not in _LOSSES:
        return None
    return Failure(Reason(condition.reason), condition.message)


def _with_cause(outcome: Outcome, pod: PodObservation | None) -> Outcome:
    """Set OutOfMemory as the reason if the runner only observed that its agent exited."""
    is_gone = pod is not None and outcome.reason == Reason.AGENT_EXITED
    # The exit code is that of the supervising script, which outlives the agent.
    if pod is None or not is_gone or not pod.agent.met_its_memory_limit:
        return outcome
    message = _memory("agent", pod)
    return outcome.model_copy(update={"reason": Reason.OUT_OF_MEMORY, "message": message})


def _memory(container: str, pod: PodObservation) -> str:
    return f"Container {container} of pod {pod.name} exceeded its memory limit."


def _message_of(outcome: Outcome, phase: Phase) -> Ending:
    reason = outcome.reason or _DEFAULT_REASON[phase]
    default = "The agent finished." if phase is Phase.COMPLETED else "The runner sent no message."
    return Ending(phase, reason, outcome.message or default)


def _failed(reason: Reason, message: str) -> Ending:
    return Ending(Phase.FAILED, reason, message)


def _lost(why: Failure) -> Ending:
    return Ending(Phase.FAILED, why.reason, why.message, lost=True)
