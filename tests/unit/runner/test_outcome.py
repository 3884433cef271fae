"""How the end of an attempt is reported."""

from datetime import UTC, datetime

from agentrun.api.v1alpha1 import Outcome, OutcomeState, Reason, Result
from agentrun.runner.outcome import MAX_TERMINATION_BYTES, End, build_outcome, termination_message

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_termination_message_is_small_and_readable() -> None:
    end = End(OutcomeState.FAILED, Reason.PROVIDER_ERROR, "ü" * 30_000)
    outcome = build_outcome(end, Result(summary="x" * 30_000, commit="c" * 40), 3, NOW)
    text = termination_message(outcome)
    assert len(text.encode()) < MAX_TERMINATION_BYTES
    told = Outcome.model_validate_json(text)
    assert (told.attempt, told.state, told.reason) == (3, OutcomeState.FAILED, "ProviderError")
    assert told.result is not None
    assert told.result.commit == "c" * 40
