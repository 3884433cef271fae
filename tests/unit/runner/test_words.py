"""What the agent is told, what its answer must be, and how the end is told."""

import io
from datetime import UTC, datetime
from typing import Any

import pytest

from agentrun.api.events import EventType
from agentrun.api.messages import AgentMessage, MessagePart
from agentrun.api.v1alpha1 import AgentRunSpec, Outcome, OutcomeState, Reason, Result, Usage
from agentrun.runner.outcome import (
    MAX_TERMINATION_BYTES,
    End,
    add_usage,
    build_outcome,
    end_of_turn,
    termination_message,
    usage_of,
    without_cost,
)
from agentrun.runner.prompt import build_prompt, check_answer
from agentrun.runner.transcript import Transcript

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def test_prompt_comes_in_its_parts_and_in_order() -> None:
    message = AgentMessage(parts=[MessagePart(type="text", text="the message")])
    spec = AgentRunSpec(
        backend="codex", prompt="the prompt", input_message=message, output_schema=SCHEMA
    )
    prompt = build_prompt(spec, "be kind")
    words = ["<instructions>\nbe kind", "the prompt", "the message", '"required"']
    places = [prompt.index(word) for word in words]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"n": 1}', id="plain"),
        pytest.param('```json\n{"n": 1}\n```', id="fenced"),
        pytest.param('Here it is:\n```\n{"n": 1}\n```\nDone.', id="fenced-in-prose"),
        pytest.param('The answer is {"n": 1}.', id="in-prose"),
    ],
)
def test_structured_answer_is_found(text: str) -> None:
    assert check_answer(text, SCHEMA) == {"n": 1}


@pytest.mark.parametrize(
    ("text", "schema", "message"),
    [
        pytest.param("no", SCHEMA, "no JSON", id="prose"),
        pytest.param('{"n": "x"}', SCHEMA, r"\$\.n", id="wrong-type"),
        pytest.param('{"n": 1}', {"type": "nonsense"}, "not a JSON Schema", id="bad-schema"),
        pytest.param('{"n": 1}', {"$ref": "http://10.0.0.1/x"}, "another document", id="remote"),
    ],
)
def test_structured_answer_that_does_not_satisfy_says_why(
    text: str, schema: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_answer(text, schema)


@pytest.mark.parametrize(
    ("stop", "state", "reason"),
    [
        pytest.param("end_turn", OutcomeState.COMPLETED, Reason.COMPLETED, id="end"),
        pytest.param("refusal", OutcomeState.REJECTED, Reason.REFUSED, id="refusal"),
        pytest.param("max_tokens", OutcomeState.FAILED, Reason.LIMIT_REACHED, id="limit"),
        pytest.param("cancelled", OutcomeState.FAILED, Reason.PROTOCOL_ERROR, id="unasked"),
    ],
)
def test_stop_reason_says_how_the_run_ends(stop: str, state: OutcomeState, reason: Reason) -> None:
    end = end_of_turn(stop, "text")
    assert (end.state, end.reason) == (state, reason)


def test_termination_message_is_small_and_can_be_read() -> None:
    end = End(OutcomeState.FAILED, Reason.PROVIDER_ERROR, "ü" * 30_000)
    outcome = build_outcome(end, Result(summary="x" * 30_000, commit="c" * 40), 3, NOW)
    text = termination_message(outcome)
    assert len(text.encode()) < MAX_TERMINATION_BYTES
    told = Outcome.model_validate_json(text)
    assert (told.attempt, told.state, told.reason) == (3, OutcomeState.FAILED, "ProviderError")
    assert told.result is not None
    assert told.result.commit == "c" * 40


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
def test_usage_is_read_where_agents_put_it(answer: dict[str, Any]) -> None:
    cost = {"amount": 0.00162, "currency": "USD"}
    assert usage_of(answer, cost) == Usage(input_tokens=2, output_tokens=3, cost_usd="0.00162")


def test_cost_of_nothing_is_a_price_that_nobody_knows() -> None:
    answer = {"usage": {"inputTokens": 100, "outputTokens": 7}}
    usage = usage_of(answer, {"amount": 0, "currency": "USD"})
    assert usage is not None
    assert usage.cost_usd is None


def test_usage_of_turns_adds_up_and_the_cost_is_the_last() -> None:
    first = Usage(input_tokens=2, cost_usd="0.1")
    assert add_usage(first, Usage(input_tokens=3, cost_usd="0.3")) == Usage(
        input_tokens=5, cost_usd="0.3"
    )
    assert add_usage(None, first) == add_usage(first, None) == first


def test_transcript_reads_as_a_story() -> None:
    out = io.StringIO()
    times = iter([0.0, 1.25, 62.0, 63.0])
    transcript = Transcript(out, lambda: next(times))
    transcript.event(EventType.COMMAND_STARTED, {"command": "make"})
    transcript.event(EventType.COMMAND_FINISHED, {"output": "a\nb\n", "exit_code": 2})
    transcript.event(EventType.RUN_STARTED, {"thread_id": "x"})
    transcript.event(EventType.AGENT_MESSAGE, {"text": "It failed.\n"})
    assert out.getvalue().splitlines() == [
        "  0:01.2  $ make",
        "  1:02.0  = a",
        "             b",
        "             (exit code 2)",
        "  1:03.0  > It failed.",
    ]


def test_transcript_shows_the_end_of_long_output() -> None:
    out = io.StringIO()
    output = "\n".join(str(number) for number in range(1000))
    Transcript(out).event(EventType.COMMAND_FINISHED, {"output": output, "exit_code": 0})
    lines = out.getvalue().splitlines()
    assert len(lines) < 30
    assert "lines above" in lines[0]
    assert lines[-2].strip() == "999"


def test_transcript_holds_nothing_that_a_terminal_obeys() -> None:
    out = io.StringIO()
    text = (
        "red \x1b[31m bell \x07 back \x08 nul \x00 c1 \x9b right \u202e half \ud800 tab\t \xa0é😀"
    )
    Transcript(out).event(EventType.AGENT_MESSAGE, {"text": text})
    line = out.getvalue()
    assert line.count("\n") == 1
    line.encode()
    assert not set(line) & set("\x1b\x07\x08\x00\x9b\u202e")
    assert "red \\x1b[31m bell \\x07" in line
    assert "tab\t \xa0é😀" in line


@pytest.mark.parametrize(
    ("cost", "before", "own"),
    [("0.30", "0.1", "0.20"), ("0.05", "0.1", "0.05"), ("0.3", None, "0.3"), (None, "0.1", None)],
)
def test_a_resumed_run_costs_what_its_conversation_had_not_cost_before(
    cost: str | None, before: str | None, own: str | None
) -> None:
    used = without_cost(Usage(output_tokens=1, cost_usd=cost), before)
    assert used == Usage(output_tokens=1, cost_usd=own)
