"""What the result of a prompt turn means for the run, and what the turn used."""

from typing import Any

import pytest

from agentrun.api.v1alpha1 import OutcomeState, Reason, Usage
from agentrun.backends import backend_of
from agentrun.runner.acp.turn_result import (
    RunUsage,
    classify,
    end_of_turn,
    is_provider_error,
    is_unanswered,
    unanswered,
    usage_of,
)
from agentrun.runner.provider.proxy import ProviderError


@pytest.mark.parametrize(
    ("stop", "state", "reason"),
    [
        pytest.param("end_turn", OutcomeState.COMPLETED, Reason.COMPLETED, id="end"),
        pytest.param("refusal", OutcomeState.REJECTED, Reason.REFUSED, id="refusal"),
        pytest.param("max_tokens", OutcomeState.FAILED, Reason.LIMIT_REACHED, id="limit"),
        pytest.param("cancelled", OutcomeState.FAILED, Reason.PROTOCOL_ERROR, id="unasked"),
        pytest.param("tired", OutcomeState.FAILED, Reason.PROTOCOL_ERROR, id="unknown"),
        pytest.param(None, OutcomeState.FAILED, Reason.PROTOCOL_ERROR, id="none"),
        pytest.param(["end_turn"], OutcomeState.FAILED, Reason.PROTOCOL_ERROR, id="no-string"),
    ],
)
def test_stop_reason_determines_the_end_of_the_run(
    stop: Any, state: OutcomeState, reason: Reason
) -> None:
    end = end_of_turn(stop, "text")
    assert (end.state, end.reason, end.final_response) == (state, reason, "text")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"usage": {"inputTokens": 2, "outputTokens": 3}}, id="usage"),
        pytest.param(
            {"_meta": {"quota": {"token_count": {"input_tokens": 2, "output_tokens": 3}}}},
            id="quota",
        ),
    ],
)
def test_usage_is_read_from_all_places_where_agents_report_it(answer: dict[str, Any]) -> None:
    cost = {"amount": 0.00162, "currency": "USD"}
    assert usage_of(answer, cost) == Usage(input_tokens=2, output_tokens=3, cost_usd="0.00162")


def test_zero_cost_means_an_unknown_price() -> None:
    answer = {"usage": {"inputTokens": 100, "outputTokens": 7}}
    usage = usage_of(answer, {"amount": 0, "currency": "USD"})
    assert usage is not None
    assert usage.cost_usd is None


def test_usage_of_turns_adds_up_and_the_last_cost_counts() -> None:
    first = Usage(input_tokens=2, cost_usd="0.1")
    second = Usage(input_tokens=3, cost_usd="0.3")
    both = RunUsage().plus(first).plus(second)
    assert both == RunUsage(Usage(input_tokens=5, cost_usd="0.3"), cost="0.3")
    assert RunUsage().plus(first) == RunUsage(first, "0.1").plus(None) == RunUsage(first, "0.1")


@pytest.mark.parametrize(
    ("cost", "before", "own"),
    [("0.30", "0.1", "0.20"), ("0.05", "0.1", "0.05"), ("0.3", None, "0.3"), (None, "0.1", None)],
)
def test_cost_of_a_resumed_run_excludes_the_earlier_cost_of_its_conversation(
    cost: str | None, before: str | None, own: str | None
) -> None:
    usage = RunUsage(cost=before, cost_before=before).plus(Usage(output_tokens=1, cost_usd=cost))
    assert usage.used == Usage(output_tokens=1, cost_usd=own)
    assert usage.cost == (cost or before)


@pytest.mark.parametrize(
    ("code", "provider", "reason"),
    [
        pytest.param(-32603, ProviderError(401, "no"), "AuthRequired", id="provider-401"),
        pytest.param(-32603, ProviderError(403, "no"), "AuthRequired", id="provider-403"),
        pytest.param(-32603, ProviderError(500, "no"), "ProviderError", id="provider-500"),
        pytest.param(-32000, None, "AuthRequired", id="agents-own-auth"),
        pytest.param(-32603, None, "ProviderError", id="other"),
    ],
)
def test_errors_are_classified_by_the_error_of_the_provider(
    code: int, provider: ProviderError | None, reason: str
) -> None:
    assert classify(code, "words", None, provider).reason == reason


@pytest.mark.parametrize(
    ("backend", "said", "expected"),
    [
        pytest.param("codex", "We are busy", True, id="codex-in-its-own-words"),
        pytest.param("claude_code", "API error: overloaded", True, id="said-as-an-answer"),
        pytest.param("claude_code", "I am done", False, id="an-aside-failed"),
        pytest.param("acp", None, True, id="nothing-said"),
    ],
)
def test_provider_error_in_place_of_an_answer_is_detected(
    backend: str, said: str | None, expected: bool
) -> None:
    assert (
        is_provider_error(backend_of(backend), said, ProviderError(529, "overloaded")) is expected
    )
    assert not is_provider_error(backend_of(backend), said, None)


@pytest.mark.parametrize(
    ("said", "usage", "was_asked", "is_it"),
    [
        pytest.param(None, None, None, True, id="nothing"),
        pytest.param(" \n", Usage(output_tokens=3), True, True, id="blank"),
        pytest.param("/login isn't available here.", Usage(input_tokens=0), False, True, id="own"),
        pytest.param("Logged out.", None, False, True, id="own-uncounted"),
        pytest.param("Done.", Usage(input_tokens=0), True, False, id="model-without-counts"),
        pytest.param("Done.", Usage(input_tokens=9), False, False, id="other-provider"),
        pytest.param("Done.", None, None, False, id="no-proxy"),
    ],
)
def test_turn_without_a_part_of_the_model_is_unanswered(
    said: str | None, usage: Usage | None, was_asked: bool | None, is_it: bool
) -> None:
    assert is_unanswered(backend_of("claude_code"), said, usage, was_asked) is is_it


def test_unknown_agent_may_answer_without_a_request_to_the_provider() -> None:
    assert not is_unanswered(backend_of("acp"), "Done.", None, was_asked=False)
    assert is_unanswered(backend_of("acp"), "", None, was_asked=False)


def test_what_the_agent_itself_said_is_in_the_message() -> None:
    end = unanswered(end_of_turn("end_turn", "/login isn't available here."))
    assert (end.state, end.reason) == (OutcomeState.FAILED, Reason.NO_ANSWER)
    assert end.message.endswith("said: /login isn't available here.")
    assert end.final_response == "/login isn't available here."
