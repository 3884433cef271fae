"""
Merges runners' reports into the complete ``status.agent``.

Server-side apply removes fields that the field manager omits, so each write contains all of them.
"""

from agentrun.api.v1alpha1 import AgentStatus, Outcome

# A restarted runner does not know these fields; their values stay valid.
_REMEMBERED = (
    "session_id", "acknowledged_input", "prompt_sent", "usage", "snapshot", "remote_ref",
)  # fmt: skip


def merge_state(before: AgentStatus | None, reported: AgentStatus, attempt: int) -> AgentStatus:
    """
    Return the status for a runner's reported state.

    Omitted fields are cleared: without ``question``, none is open. Fields that a restarted runner
    cannot know are retained unless they are explicitly null. The outcome of the same attempt is
    retained as well: it is reported separately.
    """
    before = before or AgentStatus()
    kept = {
        name: getattr(before, name)
        for name in _REMEMBERED
        if name not in reported.model_fields_set and getattr(before, name) is not None
    }
    # Only a newer snapshot clears the error of an earlier one.
    if not {"snapshot", "snapshot_error"} & reported.model_fields_set:
        kept["snapshot_error"] = before.snapshot_error
    outcome = before.outcome
    if outcome is not None and outcome.attempt != attempt:
        outcome = None
    status = reported.model_copy(update={**kept, "attempt": attempt, "outcome": outcome})
    if before.acknowledged_input and status.acknowledged_input is not None:
        newest = max(before.acknowledged_input, status.acknowledged_input)
        status = status.model_copy(update={"acknowledged_input": newest})
    return status


def merge_outcome(before: AgentStatus | None, outcome: Outcome) -> AgentStatus:
    """Return the status with the outcome of the attempt."""
    before = before or AgentStatus()
    return before.model_copy(update={"attempt": outcome.attempt, "outcome": outcome})


def is_same(one: AgentStatus | Outcome | None, other: AgentStatus | Outcome | None) -> bool:
    """Whether both have the same serialized form."""
    return (one.to_json() if one else None) == (other.to_json() if other else None)


def is_same_state(one: AgentStatus | None, other: AgentStatus | None) -> bool:
    """Whether both are the same except for the fields that an outcome sets."""
    nothing = {"attempt": None, "outcome": None}
    return is_same(
        *((status or AgentStatus()).model_copy(update=nothing) for status in (one, other))
    )
