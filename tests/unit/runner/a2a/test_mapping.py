"""From what a remote agent says to events, and from the end of its task to the end of the run."""

from typing import Any

import pytest

from agentrun.api.events import EventType
from agentrun.api.v1alpha1 import OutcomeState, Reason
from agentrun.runner.a2a import mapping
from agentrun.runner.a2a.mapping import TaskMapper, check_structured, end_of, final_data

Raw = dict[str, Any]

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def status(state: str, text: str = "", name: str = "m1") -> Raw:
    said: Raw = {"state": f"TASK_STATE_{state}"}
    if text:
        said["message"] = {"messageId": name, "role": "ROLE_AGENT", "parts": [{"text": text}]}
    return said


def update(state: str, text: str = "", name: str = "m1") -> Raw:
    return {"statusUpdate": {"taskId": "t", "contextId": "c", "status": status(state, text, name)}}


def snapshot(state: str, text: str = "", **more: Any) -> Raw:
    return {"task": {"id": "t", "contextId": "c", "status": status(state, text), **more}}


def artifact(name: str, text: str, **more: Any) -> Raw:
    return {"artifactUpdate": {"artifact": {"artifactId": name, "parts": [{"text": text}]}, **more}}


def fed(mapper: TaskMapper, *events: Raw) -> list[tuple[EventType, Raw]]:
    return [draft for event in events for draft in mapper.feed(event)] + mapper.flush()


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CANCELED", "REJECTED"])
def test_end_of_a_task_is_not_reported_as_the_end_of_the_run(state: str) -> None:
    mapper = TaskMapper("http://a", "a")
    told = fed(mapper, update("WORKING"), update(state))
    words = [data["status"] for kind, data in told if kind is EventType.STATUS_CHANGED]
    assert words == ["running", "running"]
    assert mapper.is_settled


def test_events_of_the_stream_are_not_repeated_by_a_snapshot() -> None:
    mapper = TaskMapper("http://a", "a")
    fed(mapper, update("WORKING", "hello"), artifact("x", "one"))
    whole = {"artifactId": "x", "parts": [{"text": "one"}]}
    again = fed(mapper, snapshot("WORKING", "hello", artifacts=[whole]))
    assert again == []
    more = {"artifactId": "x", "parts": [{"text": "one"}, {"text": "two"}]}
    assert fed(mapper, snapshot("WORKING", "hello", artifacts=[more])) == [], "it may still grow"
    kinds = [kind for kind, _ in fed(mapper, *[snapshot("WORKING", "hello", artifacts=[more])] * 2)]
    assert kinds == [EventType.ARTIFACT_ADDED]


def test_chunks_of_an_artifact_are_reported_together_as_the_answer() -> None:
    mapper = TaskMapper("http://a", "a")
    told = fed(
        mapper, artifact("x", "al"), artifact("x", "l is ", append=True),
        artifact("x", "well", append=True, lastChunk=True), update("COMPLETED"),
    )  # fmt: skip
    texts = [data["text"] for kind, data in told if kind is EventType.ARTIFACT_ADDED]
    assert texts == ["all is well"]
    assert mapper.final_response == "all is well"


def test_answer_is_the_last_message_if_there_is_no_artifact() -> None:
    mapper = TaskMapper("http://a", "a")
    fed(mapper, update("WORKING", "one"), update("COMPLETED", "two", "m2"))
    assert mapper.final_response == "two"


def test_answer_is_the_text_of_the_artifacts_or_else_their_other_content() -> None:
    mapper = TaskMapper("http://a", "a")
    data = {"artifactUpdate": {"artifact": {"artifactId": "d", "parts": [{"data": {"n": 1}}]}}}
    told = fed(mapper, update("WORKING", "I begin"), data)
    rendered = '{\n  "n": 1\n}'
    assert (told[-1][1]["text"], mapper.final_response) == (rendered, rendered)
    fed(mapper, artifact("x", "one"))
    assert mapper.final_response == "one"


def test_question_and_message_in_data_parts_are_reported() -> None:
    mapper = TaskMapper("http://a", "a")
    asked = update("INPUT_REQUIRED", "x")
    asked["statusUpdate"]["status"]["message"]["parts"] = [{"data": {"which": [1, 2]}}]
    told = dict(fed(mapper, asked))
    assert '"which": [' in mapper.status_text
    assert told[EventType.AGENT_MESSAGE]["text"] == mapper.status_text
    assert told[EventType.MESSAGE_ADDED]["text"] == mapper.status_text


def test_large_artifacts_are_reported_and_then_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "ARTIFACTS_BOUND", 100)
    mapper = TaskMapper("http://a", "a")
    told = fed(mapper, artifact("x", "x" * 200), artifact("y", "small"))
    assert [data["text"] for _, data in told] == ["x" * 200, "small"]
    assert mapper.final_response == "small"
    assert mapper.finish() == []


def test_artifact_that_exceeds_the_limit_is_truncated_with_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mapping, "ARTIFACTS_BOUND", 100)
    mapper = TaskMapper("http://a", "a")
    pieces = (artifact("x", "x" * 30, append=True) for _ in range(9))
    ((_, data),) = fed(mapper, artifact("x", "x"), *pieces)
    assert data["truncated"] is True
    assert len(data["text"]) < 100


def test_artifact_without_a_last_chunk_is_reported_at_the_end_of_the_task() -> None:
    mapper = TaskMapper("http://a", "a")
    half = {"artifactId": "x", "parts": [{"text": "half"}]}
    assert EventType.ARTIFACT_ADDED not in dict(fed(mapper, snapshot("WORKING", artifacts=[half])))
    ((kind, data),) = mapper.finish()
    assert (kind, data["text"]) == (EventType.ARTIFACT_ADDED, "half")


def test_another_task_of_the_conversation_starts_without_artifacts() -> None:
    mapper = TaskMapper("http://a", "a")
    fed(mapper, snapshot("WORKING"), artifact("x", "one"))
    mapper.begin_turn(new_task=True)
    assert (mapper.task_id, mapper.context_id, mapper.final_response) == (None, "c", None)


def ended(state: str, *parts: dict[str, Any], saying: str = "") -> TaskMapper:
    """Make the end of a task, with one artifact of such parts."""
    mapper = TaskMapper("http://agent", "agent")
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
async def test_valid_answer(parts: list[dict[str, Any]]) -> None:
    assert await check_structured(ended("COMPLETED", *parts), NUMBER) == {"n": 7}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("seven", "no JSON", id="none"),
        pytest.param('{"n": "seven"}', r"\$\.n", id="of-another-type"),
        pytest.param(
            "[" * 300 + "]" * 300, "nested deeper than 48 levels", id="too-deep-to-be-passed-on"
        ),
        pytest.param(
            "[" * 50_000 + "]" * 50_000, "nested deeper than 48 levels", id="too-deep-to-be-read"
        ),
    ],
)
@pytest.mark.slow
async def test_invalid_answer_is_refused(text: str, problem: str) -> None:
    schema = {} if text.startswith("[") else NUMBER
    with pytest.raises(ValueError, match=problem):
        await check_structured(ended("COMPLETED", {"text": text}), schema)


def test_last_event_names_the_task_and_its_artifacts() -> None:
    task = ended("COMPLETED", {"text": "x"})
    ids = {"task_id": "t", "context_id": "c"}
    named = {**ids, "agent_url": "http://agent"}
    assert final_data(task, OutcomeState.COMPLETED) == {
        **named,
        "artifacts": [{"artifact_id": "a"}],
    }
    assert final_data(task, OutcomeState.FAILED) == named
    assert final_data(task, OutcomeState.REJECTED) == ids


def test_last_event_omits_unknown_fields() -> None:
    task = TaskMapper("http://agent", "")
    assert final_data(task, OutcomeState.FAILED) == {"agent_url": "http://agent"}
