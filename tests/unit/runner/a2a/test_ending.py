"""What the end of a remote task means, and which answers of it are taken."""

from typing import Any

import pytest

from agentrun.api.v1alpha1 import OutcomeState, Reason
from agentrun.runner.a2a.ending import check_structured, end_of, final_data
from agentrun.runner.a2a.mapping import Mapper

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def ended(state: str, *parts: dict[str, Any], saying: str = "") -> Mapper:
    """Make the end of a task, with one artifact of such parts."""
    mapper = Mapper("http://agent", "agent")
    status: dict[str, Any] = {"state": f"TASK_STATE_{state}"}
    if saying:
        part = {"text": saying}
        status["message"] = {"messageId": "m", "role": "ROLE_AGENT", "parts": [part]}
    made = [{"artifactId": "a", "parts": list(parts)}] if parts else []
    mapper.feed({"task": {"id": "t", "contextId": "c", "status": status, "artifacts": made}})
    mapper.flush()
    return mapper


@pytest.mark.parametrize(
    ("state", "saying", "how", "reason", "message"),
    [
        ("COMPLETED", "", OutcomeState.COMPLETED, Reason.COMPLETED, ""),
        ("FAILED", "broken", OutcomeState.FAILED, Reason.PROVIDER_ERROR, "broken"),
        ("FAILED", "", OutcomeState.FAILED, Reason.PROVIDER_ERROR, "gave no reason"),
        ("REJECTED", "not mine", OutcomeState.REJECTED, Reason.REFUSED, "not mine"),
        ("CANCELED", "", OutcomeState.FAILED, Reason.PROVIDER_ERROR, "cancelled on its server"),
    ],
)
def test_how_the_run_ends(
    state: str, saying: str, how: OutcomeState, reason: Reason, message: str
) -> None:
    end = end_of(ended(state, saying=saying))
    assert (end.state, end.reason) == (how, reason)
    assert message in end.message


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("parts", "structured"),
    [
        pytest.param([{"text": "so"}, {"data": {"n": 7}}, {"data": 8}], {"n": 7}, id="first"),
        pytest.param([{"text": '{"n": 7}'}], None, id="text-is-none"),
        pytest.param([{"data": nested(150)}], None, id="too-deep-to-be-passed-on"),
    ],
)
def test_data_is_the_structured_answer_also_without_a_schema(
    parts: list[dict[str, Any]], structured: Any
) -> None:
    end = end_of(ended("COMPLETED", *parts))
    assert end.structured == structured
    assert end.final_response
    assert end_of(ended("FAILED", *parts)).structured is None


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([{"data": {"n": 7}}], id="data"),
        pytest.param([{"text": 'It is\n```json\n{"n": 7}\n```'}], id="text"),
        pytest.param([{"text": '{"n": 8}'}, {"data": {"n": 7}}], id="data-goes-before-text"),
    ],
)
@pytest.mark.slow
async def test_answer_that_satisfies(parts: list[dict[str, Any]]) -> None:
    assert await check_structured(ended("COMPLETED", *parts), NUMBER) == {"n": 7}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("seven", "no JSON", id="none"),
        pytest.param('{"n": "seven"}', r"\$\.n", id="of-another-type"),
        pytest.param("[" * 300 + "]" * 300, "levels deep", id="too-deep-to-be-passed-on"),
        pytest.param("[" * 50_000 + "]" * 50_000, "levels deep", id="too-deep-to-be-read"),
    ],
)
@pytest.mark.slow
async def test_answer_that_is_not_taken(text: str, problem: str) -> None:
    schema = {} if text.startswith("[") else NUMBER
    with pytest.raises(ValueError, match=problem):
        await check_structured(ended("COMPLETED", {"text": text}), schema)


def test_last_event_names_the_task_and_what_it_made() -> None:
    task = ended("COMPLETED", {"text": "x"})
    ids = {"task_id": "t", "context_id": "c"}
    named = {**ids, "agent_url": "http://agent"}
    assert final_data(task, OutcomeState.COMPLETED) == {
        **named,
        "artifacts": [{"artifact_id": "a"}],
    }
    assert final_data(task, OutcomeState.FAILED) == named
    assert final_data(task, OutcomeState.REJECTED) == ids


def test_last_event_leaves_out_what_is_not_known() -> None:
    task = Mapper("http://agent", "")
    assert final_data(task, OutcomeState.FAILED) == {"agent_url": "http://agent"}
