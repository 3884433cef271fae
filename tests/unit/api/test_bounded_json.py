"""Reading JSON that somebody else wrote: what is refused, and what is left out."""

import json
from typing import Any

import pytest
from hypothesis import given

from agentrun.api.bounded_json import (
    CUT,
    HANDED_IN,
    KEPT,
    Bounds,
    UnreadableJsonError,
    fault_of,
    mended,
    read,
    read_kept,
)
from agentrun.api.messages import AgentMessage
from agentrun.api.quarantine import Quarantine, mark_of, readable
from tests.objects import QUIETLY, free, nested, written


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(written(nested(65)), "nested deeper than 64 levels", id="deep"),
        pytest.param(written(nested(5000)), "nested deeper than 64 levels", id="bottomless"),
        pytest.param("[" * 5000, "nested deeper than 64 levels", id="never-closed"),
        pytest.param('{"x":["y","\\u0000"]}', "It: x.1 contains a NUL character", id="nul"),
        pytest.param('{"a\\u0000":1}', "contains a NUL character", id="nul-in-a-name"),
        pytest.param('{"x":"\\ud800"}', "It: x contains an unpaired surrogate", id="surrogate"),
        pytest.param("[" + "0," * 100_000 + "0]", "more than 100000 values", id="many"),
        pytest.param("[1e999]", "It: 0 is a number that JSON cannot represent", id="infinite"),
        pytest.param("NaN", "is a number that JSON cannot represent", id="nan"),
        pytest.param("9" * 5000, "It is not valid JSON", id="endless-digits"),
        pytest.param("{", "It is not valid JSON", id="broken"),
        pytest.param(b"\xff", "It is not valid JSON", id="no-text"),
    ],
)
def test_what_exceeds_the_limits_is_refused_with_its_path(text: str | bytes, said: str) -> None:
    with pytest.raises(UnreadableJsonError, match=said.replace(".", r"\.")):
        read(text, "It")


@pytest.mark.parametrize("text", [written(nested(64)), '"\\ud83d\\ude80 ü"', "[1.5, -3, null]"])
def test_what_is_within_the_limits_is_read_unchanged(text: str) -> None:
    assert read(text, "It") == json.loads(text)


def test_a_model_is_checked_like_an_object() -> None:
    part = {"type": "data", "data": nested(62)}
    message = AgentMessage.model_validate({"parts": [part]})
    assert "input_message: parts.0.data.a.a" in fault_of(message, "input_message", HANDED_IN)
    assert fault_of(message, "input_message", Bounds(depth=70, values=1000)) == ""


@pytest.mark.parametrize("depth", [200, 999, 1100, 50_000])
def test_one_too_deeply_nested_object_of_a_list_does_not_hide_the_others(depth: int) -> None:
    good = {"metadata": {"name": "good"}, "spec": {"prompt": 'a "quoted" { [ brace'}}
    deep = '{"metadata":{"name":"deep"},"spec":{"metadata":' + written(nested(depth)) + "}}"
    text = f' {{"items": [{json.dumps(good)} , {deep},{json.dumps(good)}] , "kind":"L"}}'
    for given_text in (text, text.encode()):
        found = read_kept(given_text)
        assert found["kind"] == "L"
        assert [found["items"][0], found["items"][2]] == [good, good]
        whole = readable(found["items"][1])
        assert whole["metadata"]["name"] == "deep"
        assert "deeper than 96 levels" in mark_of(whole)
        assert json.loads(json.dumps(whole)) == whole


def test_truncated_json_is_invalid_at_any_depth() -> None:
    with pytest.raises(ValueError, match=r"is truncated|Expecting"):
        read_kept('{"items":[' + '{"a":' * 5000)


def test_what_exceeds_the_limits_is_removed_and_the_rest_stays() -> None:
    value = {"spec": {"deep": nested(200), "text": "a\0b\ud800", "odd": float("inf"), "n": 1}}
    found, why = mended(value, "The object")
    assert "spec.deep" in why or "spec.text" in why or "spec.odd" in why
    assert found["spec"]["text"] == "a\ufffdb\ufffd"
    assert (found["spec"]["odd"], found["spec"]["n"]) == (None, 1)
    assert CUT in json.dumps(found)
    many = {"spec": {"metadata": {"a": [0] * 300_000}, "prompt": "p"}, "metadata": {"name": "n"}}
    found, why = mended(many, "The object")
    assert "more than 200000 values" in why
    assert found == {"spec": {"metadata": {}, "prompt": "p"}, "metadata": {"name": "n"}}


@QUIETLY
@given(free())
def test_every_repaired_value_is_valid_and_can_be_written_and_read(value: Any) -> None:
    found, _ = mended(value, "It")
    assert fault_of(found, "It", KEPT) == ""
    assert read(json.dumps(found), "It", KEPT) == found


def test_the_quarantine_lists_objects_with_reasons_and_releases_repaired_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    quarantine = Quarantine()
    odd = {"metadata": {"name": "r", "uid": "u"}, "spec": {"x\n\x1b[31m": "a\0b"}}
    quarantine.see("agentruns", "ns", readable(odd))
    assert quarantine.describe() == (
        "1 objects cannot be read: agentruns ns/r. See the log for the reasons."
    )
    (one,) = quarantine.of("agentruns", ["ns"])
    assert (one.name, one.uid) == ("r", "u")
    assert "\n" not in one.reason
    assert "\x1b" not in one.reason
    quarantine.see("agentruns", "ns", readable({"metadata": {"name": "r", "uid": "u"}}))
    assert quarantine.describe() == ""
    assert [record.quarantined for record in caplog.records] == [1, 0]  # type: ignore[attr-defined]
    assert "quarantined=1" in caplog.text
