"""From what a remote agent says to events."""

from typing import Any

import pytest

from agentrun.api.events import EventType
from agentrun.runner.a2a import mapping
from agentrun.runner.a2a.mapping import Mapper

Raw = dict[str, Any]


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


def fed(mapper: Mapper, *events: Raw) -> list[tuple[EventType, Raw]]:
    return [draft for event in events for draft in mapper.feed(event)] + mapper.flush()


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CANCELED", "REJECTED"])
def test_end_of_a_task_is_not_told_as_the_end_of_the_run(state: str) -> None:
    mapper = Mapper("http://a", "a")
    told = fed(mapper, update("WORKING"), update(state))
    words = [data["status"] for kind, data in told if kind is EventType.STATUS_CHANGED]
    assert words == ["running", "running"]
    assert mapper.is_settled


def test_what_the_stream_told_is_not_told_again_by_a_snapshot() -> None:
    mapper = Mapper("http://a", "a")
    fed(mapper, update("WORKING", "hello"), artifact("x", "one"))
    whole = {"artifactId": "x", "parts": [{"text": "one"}]}
    again = fed(mapper, snapshot("WORKING", "hello", artifacts=[whole]))
    assert again == []
    more = {"artifactId": "x", "parts": [{"text": "one"}, {"text": "two"}]}
    assert fed(mapper, snapshot("WORKING", "hello", artifacts=[more])) == [], "it may still grow"
    kinds = [kind for kind, _ in fed(mapper, *[snapshot("WORKING", "hello", artifacts=[more])] * 2)]
    assert kinds == [EventType.ARTIFACT_ADDED]


def test_pieces_of_an_artifact_are_told_together_and_are_the_answer() -> None:
    mapper = Mapper("http://a", "a")
    told = fed(
        mapper, artifact("x", "al"), artifact("x", "l is ", append=True),
        artifact("x", "well", append=True, lastChunk=True), update("COMPLETED"),
    )  # fmt: skip
    texts = [data["text"] for kind, data in told if kind is EventType.ARTIFACT_ADDED]
    assert texts == ["all is well"]
    assert mapper.final_response == "all is well"


def test_answer_is_what_was_said_last_where_there_is_no_artifact() -> None:
    mapper = Mapper("http://a", "a")
    fed(mapper, update("WORKING", "one"), update("COMPLETED", "two", "m2"))
    assert mapper.final_response == "two"


def test_answer_is_the_artifacts_text_else_what_else_they_say() -> None:
    mapper = Mapper("http://a", "a")
    data = {"artifactUpdate": {"artifact": {"artifactId": "d", "parts": [{"data": {"n": 1}}]}}}
    told = fed(mapper, update("WORKING", "I begin"), data)
    rendered = '{\n  "n": 1\n}'
    assert (told[-1][1]["text"], mapper.final_response) == (rendered, rendered)
    fed(mapper, artifact("x", "one"))
    assert mapper.final_response == "one"


def test_question_and_message_in_data_are_said() -> None:
    mapper = Mapper("http://a", "a")
    asked = update("INPUT_REQUIRED", "x")
    asked["statusUpdate"]["status"]["message"]["parts"] = [{"data": {"which": [1, 2]}}]
    told = dict(fed(mapper, asked))
    assert '"which": [' in mapper.status_text
    assert told[EventType.AGENT_MESSAGE]["text"] == mapper.status_text
    assert told[EventType.MESSAGE_ADDED]["text"] == mapper.status_text


def test_large_artifacts_are_told_and_then_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "ARTIFACTS_BOUND", 100)
    mapper = Mapper("http://a", "a")
    told = fed(mapper, artifact("x", "x" * 200), artifact("y", "small"))
    assert [data["text"] for _, data in told] == ["x" * 200, "small"]
    assert mapper.final_response == "small"
    assert mapper.finish() == []


def test_artifact_that_grows_beyond_the_bound_is_cut_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mapping, "ARTIFACTS_BOUND", 100)
    mapper = Mapper("http://a", "a")
    pieces = (artifact("x", "x" * 30, append=True) for _ in range(9))
    ((_, data),) = fed(mapper, artifact("x", "x"), *pieces)
    assert data["truncated"] is True
    assert len(data["text"]) < 100


def test_artifact_that_grew_to_the_end_is_told_when_the_task_is_left() -> None:
    mapper = Mapper("http://a", "a")
    half = {"artifactId": "x", "parts": [{"text": "half"}]}
    assert EventType.ARTIFACT_ADDED not in dict(fed(mapper, snapshot("WORKING", artifacts=[half])))
    ((kind, data),) = mapper.finish()
    assert (kind, data["text"]) == (EventType.ARTIFACT_ADDED, "half")


def test_another_task_of_the_conversation_begins_with_nothing() -> None:
    mapper = Mapper("http://a", "a")
    fed(mapper, snapshot("WORKING"), artifact("x", "one"))
    mapper.begin_turn(new_task=True)
    assert (mapper.task_id, mapper.context_id, mapper.final_response) == (None, "c", None)
