"""The final state of a remote agent's task, which the end of a pod does not show. Pure."""

from dataclasses import replace

from agentrun.api.v1alpha1 import AgentRun
from agentrun.controller.backends import REMOTE
from agentrun.controller.outcomes import Ending, has_ended, outcome_of


def remote_task_message(run: AgentRun) -> str | None:
    """
    Return a message on the state of the run's remote task; None if there is no such task.

    It is the message of the runner's outcome, else a warning that the task was not cancelled.
    """
    if run.spec.backend != REMOTE:
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
