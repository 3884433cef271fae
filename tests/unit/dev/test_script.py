import json

import pytest

from dev.model import script


def is_call(step: script.Step) -> bool:
    return bool(step.keys() & {"shell", "tool"})


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        pytest.param(0, [{"say": "a"}, {"shell": "b"}], id="up-to-the-first-call"),
        pytest.param(1, [{"shell": "c"}], id="call-after-call"),
        pytest.param(2, [{"say": "d"}], id="to-the-end"),
        pytest.param(3, [{"say": "d"}], id="more-results-than-calls"),
    ],
)
def test_part(results: int, expected: list[script.Step]) -> None:
    steps: list[script.Step] = [{"say": "a"}, {"shell": "b"}, {"shell": "c"}, {"say": "d"}]
    assert script.part(steps, [""] * results, is_call) == expected


def test_a_script_that_ends_with_a_call_still_gets_a_final_answer() -> None:
    assert script.part([{"shell": "a"}], [""], is_call) == [{"say": "Done."}]


def test_recall_returns_the_conversation_and_not_the_search_term() -> None:
    step = {"recall": r"word-\d+"}
    conversation = json.dumps([{"text": "word-42 word-42"}, {"text": json.dumps(step)}])
    assert script.recalled(step, conversation) == {"say": "word-42"}
    assert script.recalled(step, "[]") == {"say": "Nothing."}
    assert script.recalled({"say": "x"}, conversation) == {"say": "x"}


@pytest.mark.parametrize("text", ["{", '{"say": "x"}', '["say"]', '[{"sing": "x"}]'])
def test_an_invalid_script_is_refused(text: str) -> None:
    with pytest.raises(script.ScriptError):
        script.parse(text)


def test_every_scenario_can_be_played() -> None:
    for scenario in script.scenarios():
        assert script.steps_of(f"please: {scenario['phrase'].upper()}!") == scenario["steps"]


def test_slow_chunks_add_up_to_the_text() -> None:
    step = {"say_slowly": "one two  three", "words_per_second": 4}
    said = list(script.words(step))
    assert "".join(word for word, _ in said) == "one two  three"
    assert {pause.seconds for _, pause in said if pause} == {0.25}


CALLS: list[script.Step] = [
    {"tool": "s/spawn", "arguments": {}},
    {"tool": "s/poll", "arguments": {"id": "{{id}}", "after": "{{next}}"}, "until": "finished"},
    {"tool": "s/end", "arguments": {"note": ["end of {{id}}"]}},
]
SPAWNED = '{"id": "run-1", "next": 0}'


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        pytest.param([SPAWNED], {"id": "run-1", "after": 0}, id="values-of-the-newest-result"),
        pytest.param([SPAWNED, '{"next": 4}'], {"id": "run-1", "after": 4}, id="called-again"),
        pytest.param(
            [SPAWNED, r'Output: "{\"next\": 5}"'], {"id": "run-1", "after": 5}, id="json-in-json"
        ),
        pytest.param(
            [SPAWNED, "{}", "finished"], {"note": ["end of run-1"]}, id="until-it-says-so"
        ),
    ],
)
def test_a_tool_step_uses_values_of_earlier_results(
    results: list[str], expected: dict[str, object]
) -> None:
    [step] = script.part(CALLS, results, is_call)
    assert step["arguments"] == expected


def test_a_value_missing_from_all_results_is_an_error_of_the_script() -> None:
    with pytest.raises(script.ScriptError, match="no result so far has a id"):
        script.part(CALLS[1:], [], is_call)
