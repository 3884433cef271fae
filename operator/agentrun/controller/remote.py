"""Telling what became of the task of an agent elsewhere, whose end no pod's end can show. Pure."""

from dataclasses import replace

from agentrun.api.v1alpha1 import AgentRun
from agentrun.controller.backends import REMOTE
from agentrun.controller.outcomes import Ending, has_ended, outcome_of


def remote_task_message(run: AgentRun) -> str | None:
    """Return what the runner says of the remote task; else, that nobody told it of the end."""
    if run.spec.backend != REMOTE:
        return None
    outcome = outcome_of(run, None)
    if outcome is not None and not outcome.waiting:
        return outcome.message
    ref = run.status.agent.remote_ref if run.status.agent else None
    if ref is None or ref.task_id is None:
        return None
    return (
        f"Remote task {ref.task_id} of {ref.agent_url} was not cancelled, because no pod of the run"
        " was there to do it: it may still be working, or waiting."
    )


def with_remote_task(run: AgentRun, ending: Ending) -> Ending:
    """Add that to how a run ends that lost its pod: its own end is not that of the task."""
    if has_ended(outcome_of(run, None)):
        return ending
    message = " ".join(filter(None, (ending.message, remote_task_message(run))))
    return replace(ending, message=message)
