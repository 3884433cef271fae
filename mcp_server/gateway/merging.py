"""
Merging what a runner says into the whole of ``status.agent``.

Server-side apply replaces everything its manager wrote before, so each write carries all of it.
"""

from agentrun.api.v1alpha1 import AgentStatus, Outcome

# A runner that starts again does not know these, and what was true of them stays true.
_REMEMBERED = (
    "session_id", "acknowledged_input", "prompt_sent", "usage", "snapshot", "remote_ref",
)  # fmt: skip


def merge_state(before: AgentStatus | None, said: AgentStatus, attempt: int) -> AgentStatus:
    """
    Make the status from what the runner says now.

    What it leaves out is not so: no question means that none is open. Only what a fresh runner
    cannot know is kept, unless it is null in so many words; and the outcome, which has a way of
    its own.
    """
    before = before or AgentStatus()
    kept = {
        name: getattr(before, name)
        for name in _REMEMBERED
        if name not in said.model_fields_set and getattr(before, name) is not None
    }
    # A newer snapshot makes good that an earlier one failed; nothing else does.
    if not {"snapshot", "snapshot_error"} & said.model_fields_set:
        kept["snapshot_error"] = before.snapshot_error
    outcome = before.outcome
    if outcome is not None and outcome.attempt != attempt:
        outcome = None
    status = said.model_copy(update={**kept, "attempt": attempt, "outcome": outcome})
    if before.acknowledged_input and status.acknowledged_input is not None:
        newest = max(before.acknowledged_input, status.acknowledged_input)
        status = status.model_copy(update={"acknowledged_input": newest})
    return status


def merge_outcome(before: AgentStatus | None, outcome: Outcome) -> AgentStatus:
    """Make the status of an attempt that ended."""
    before = before or AgentStatus()
    return before.model_copy(update={"attempt": outcome.attempt, "outcome": outcome})


def is_same(one: AgentStatus | Outcome | None, other: AgentStatus | Outcome | None) -> bool:
    """Whether the API server would store the same for both."""
    return (one.to_json() if one else None) == (other.to_json() if other else None)


def is_same_state(one: AgentStatus | None, other: AgentStatus | None) -> bool:
    """Whether both say the same of what states tell, leaving out what an outcome writes."""
    nothing = {"attempt": None, "outcome": None}
    return is_same(
        *((status or AgentStatus()).model_copy(update=nothing) for status in (one, other))
    )
