"""The status of a run: what its runner reported in it, and the next one to write."""

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
    Question,
    Reason,
)
from agentrun.controller.actions import Action, SetStatus

_MESSAGE = 4096
_ORDER = [str(kind) for kind in ConditionType]


def condition_of(status: AgentRunStatus, kind: ConditionType) -> Condition | None:
    """Return the condition of that type; None if it is not set."""
    return next((one for one in status.conditions if one.type == kind), None)


def agent_of(run: AgentRun) -> AgentStatus | None:
    """Return the status that the newest attempt's runner reported; None before its first report."""
    agent = run.status.agent
    if agent is None or agent.attempt not in (None, run.attempts):
        return None
    return agent


def phase_of(agent: AgentStatus | None) -> tuple[Phase, Reason, str]:
    """Return the phase, reason and message of a run whose pod runs."""
    state = agent.state if agent else None
    if agent is None or state is None:
        return Phase.STARTING, Reason.POD_PENDING, "The pod runs; its runner has not reported yet."
    if state is AgentState.PREPARING:
        return Phase.STARTING, Reason.PREPARING, "The workspace is being prepared."
    if state is AgentState.WORKING:
        return Phase.RUNNING, Reason.WORKING, "The agent is working."
    if state is AgentState.FINISHED:
        return Phase.RUNNING, Reason.FINISHING, "The agent has finished; its pod is shutting down."
    return waiting_phase(agent.question, state is AgentState.AUTH_REQUIRED)


def waiting_phase(question: Question | None, needs_auth: bool) -> tuple[Phase, Reason, str]:
    """Return the phase, reason and message of a run that waits for input or for credentials."""
    text = question.text if question else ""
    if needs_auth:
        return Phase.AUTH_REQUIRED, Reason.AUTH_REQUIRED, text or "The agent needs credentials."
    return Phase.INPUT_REQUIRED, Reason.QUESTION, text or "The agent waits for an answer."


def status_patch(old: AgentRunStatus, new: AgentRunStatus) -> dict[str, Any]:
    """Return the merge patch from one status to another, without ``agent``; empty if equal."""
    before, wanted = (one.model_copy(update={"agent": None}).to_json() for one in (old, new))
    patch = {key: value for key, value in wanted.items() if before.get(key) != value}
    return patch | {key: None for key in before if key not in wanted}


class StatusDraft:
    """
    The next status of a run, which begins as the current one.

    It is collected step by step, and written only if it differs from the current one.
    """

    def __init__(self, run: AgentRun, now: datetime) -> None:
        self.status = run.status
        self._run = run
        self._now = now

    def set(self, **fields: Any) -> None:
        """Set fields of the status, by their names in Python."""
        self.status = self.status.model_copy(update=fields)

    def set_phase(self, phase: Phase, reason: str, message: str) -> None:
        """Set the phase, and account for the time spent waiting for input."""
        since = self.status.waiting_since
        if phase.is_waiting and since is None:
            self.set(waiting_since=self._now)
        elif since is not None and not phase.is_waiting:
            waited = max(0, round((self._now - since).total_seconds()))
            before = self.status.waited_seconds or 0
            self.set(waiting_since=None, waited_seconds=before + waited)
        self.set(
            phase=phase,
            reason=reason,
            message=message[:_MESSAGE],
            observed_generation=self._run.metadata.generation or None,
        )

    def set_condition(
        self,
        kind: ConditionType,
        value: Literal["True", "False", "Unknown"],
        reason: str,
        message: str,
    ) -> None:
        """Set a condition; its transition time changes only with its status."""
        last = condition_of(self.status, kind)
        since = last.last_transition_time if last and last.status == value else None
        condition = Condition(
            type=kind,
            status=value,
            reason=reason,
            message=message[:_MESSAGE],
            last_transition_time=since or self._now,
        )
        others = [one for one in self.status.conditions if one.type != kind]
        ordered = sorted([*others, condition], key=lambda one: _ORDER.index(one.type))
        self.set(conditions=ordered)

    def actions(self, *, guarded: bool = False) -> list[Action]:
        """Return the action that writes the status; none if it is the current one."""
        return [] if self.status == self._run.status else [SetStatus(self.status, guarded)]
