"""
Making the next status of a run from the last.

Nothing here changes a status in place; each function answers with another one.
"""

from datetime import datetime
from typing import Any, Literal

from agentrun.api.v1alpha1 import (
    AgentRun,
    AgentRunStatus,
    AgentState,
    AgentStatus,
    Condition,
    ConditionType,
    Phase,
    Reason,
)

_MESSAGE = 4096


def condition_of(status: AgentRunStatus, kind: ConditionType) -> Condition | None:
    """Find a condition."""
    return next((one for one in status.conditions if one.type == kind), None)


def with_condition(
    status: AgentRunStatus,
    kind: ConditionType,
    value: Literal["True", "False", "Unknown"],
    reason: str,
    message: str,
    now: datetime,
) -> AgentRunStatus:
    """Set a condition; its transition time moves only when its status does."""
    last = condition_of(status, kind)
    since = last.last_transition_time if last and last.status == value else None
    condition = Condition(
        type=kind,
        status=value,
        reason=reason,
        message=message[:_MESSAGE],
        last_transition_time=since or now,
    )
    others = [one for one in status.conditions if one.type != kind]
    ordered = sorted([*others, condition], key=lambda one: _ORDER.index(one.type))
    return status.model_copy(update={"conditions": ordered})


_ORDER = [str(kind) for kind in ConditionType]


def in_phase(
    run: AgentRun, status: AgentRunStatus, phase: Phase, reason: str, message: str, now: datetime
) -> AgentRunStatus:
    """Put ``status`` in ``phase``, and keep count of the time spent waiting for people."""
    update: dict[str, Any] = {
        "phase": phase,
        "reason": reason,
        "message": message[:_MESSAGE],
        "observed_generation": run.metadata.generation or None,
    }
    since = status.waiting_since
    if phase.is_waiting and since is None:
        update["waiting_since"] = now
    elif since is not None and not phase.is_waiting:
        waited = max(0, round((now - since).total_seconds()))
        update |= {"waiting_since": None, "waited_seconds": (status.waited_seconds or 0) + waited}
    return status.model_copy(update=update)


def agent_of(run: AgentRun) -> AgentStatus | None:
    """What the runner of the newest attempt says; None while only an earlier one has spoken."""
    agent = run.status.agent
    if agent is None or agent.attempt not in (None, run.attempts):
        return None
    return agent


def phase_of(agent: AgentStatus | None) -> tuple[Phase, Reason, str]:
    """Say where a run is whose pod runs."""
    state = agent.state if agent else None
    if agent is None or state is None:
        return Phase.STARTING, Reason.POD_PENDING, "The pod runs; its runner has not reported yet."
    if state is AgentState.PREPARING:
        return Phase.STARTING, Reason.PREPARING, "The workspace is being made ready."
    if state is AgentState.WORKING:
        return Phase.RUNNING, Reason.WORKING, "The agent works."
    if state is AgentState.FINISHED:
        return Phase.RUNNING, Reason.FINISHING, "The agent has finished; its pod is being closed."
    question = agent.question.text if agent.question else ""
    if state is AgentState.INPUT_REQUIRED:
        return Phase.INPUT_REQUIRED, Reason.QUESTION, question or "The agent waits for an answer."
    return Phase.AUTH_REQUIRED, Reason.AUTH_REQUIRED, question or "The agent needs credentials."


def status_patch(old: AgentRunStatus, new: AgentRunStatus) -> dict[str, Any]:
    """Make the merge patch from one status to another; empty if they say the same."""
    before, wanted = (one.model_copy(update={"agent": None}).to_json() for one in (old, new))
    patch = {key: value for key, value in wanted.items() if before.get(key) != value}
    return patch | {key: None for key in before if key not in wanted}
