"""Which part of an agent's last message is its structured answer."""

import json
import time
from typing import Any

import pytest

from agentrun.runner.answer_check import check_answer

NUMBER: dict[str, Any] = {
    "type": "object",
    "required": ["n"],
    "properties": {"n": {"type": "number"}},
}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"n": 1}', id="plain"),
        pytest.param('\ufeff {"n": 1}\n', id="byte-order-mark"),
        pytest.param('```json\n{"n": 1}\n```', id="fenced"),
        pytest.param('```json\n{"n": 1}```', id="fence-ends-in-the-line"),
        pytest.param('~~~~ json5 title="a"\n{"n": 1}\n~~~~', id="other-fence"),
        pytest.param('```json\n{"n": 1}', id="fence-without-end"),
        pytest.param('Here it is:\n```\n{"n": 1}\n```\nDone.', id="fenced-in-prose"),
        pytest.param("```\n{\"n\": 3}\n```\nor\n```\n{\"n\": 1}\n```", id="last-fence"),
        pytest.param('```\n{"n": 1}\n```\nfor\n```python\nprint({"n": "x"})\n```', id="that-fits"),
        pytest.param('The answer is {"n": 1}.', id="in-prose"),
        pytest.param('The answer to [2] {see} is {"n": 1} [3].', id="among-brackets"),
        pytest.param('- [ ] {open\nThe answer: {"n": 1}', id="after-an-open-bracket"),
        pytest.param('First {"n": 2}, and then {"n": 1}', id="last-in-prose"),
        pytest.param('<think>{"n": 2}?</think>{"n": 1}', id="reasoning"),
        pytest.param('<think>\nA</think>\n<think>B</think>\n\n{"n": 1}', id="reasoning-twice"),
        pytest.param('So {"n": 2}\n</think>\n{"n": 1}', id="reasoning-begins-in-the-template"),
        pytest.param('<think>I see.\n{"n": 1}', id="reasoning-without-end"),
        pytest.param('[THINK]{"n": 2}[/THINK]\n```\n{"n": 1}\n```', id="reasoning-in-brackets"),
        pytest.param('<Reasoning>```\n{"n": 2}\n```</Reasoning>{"n": 1}', id="fenced-reasoning"),
    ],
)  # fmt: skip
def test_the_answer_is_found(text: str) -> None:
    assert check_answer(text, NUMBER) == {"n": 1}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"n": 1, "t": "use <think> and </think>"}, id="tags"),
        pytest.param({"n": 1, "t": '```json\n{"n": 2}\n```'}, id="fences"),
        pytest.param({"n": 1, "t": "} ] \" \\"}, id="brackets"),
        pytest.param({"n": 1, "t": "\U0001f600\u2028"}, id="pairs-and-separators"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "around", ["{}", "So: {} and more.", "```\n{}\n```", "<think>{{</think>{}"]
)
def test_the_answer_is_returned_as_it_is(answer: Any, around: str) -> None:
    for text in (json.dumps(answer), json.dumps(answer, ensure_ascii=False)):
        assert check_answer(around.replace("{}", text), NUMBER) == answer


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("no", "contains no JSON", id="prose"),
        pytest.param("", "contains no JSON", id="empty"),
        pytest.param(
            '{"a": {"n": 1}, "b": NaN}', "b is a number that JSON cannot", id="part-of-no-json"
        ),
        pytest.param(
            'So {"a": {"n": 1}, "b": 1e}', "not valid JSON", id="part-of-no-json-in-prose"
        ),
        pytest.param('{"a": {"n": 1}, "b": ', "not valid JSON", id="part-of-a-cut-off-value"),
        pytest.param('{"a": {"n": 1}}', "'n' is a required", id="part-of-another-value"),
        pytest.param('<think>{"n": 1}</think>', "contains no JSON", id="only-reasoning"),
        pytest.param('{"n": 1}</think>I do not know', "Extra data", id="only-a-draft"),
    ],
)
def test_a_part_of_something_else_is_no_answer(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_answer(text, NUMBER)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("NaN", "n is a number that JSON cannot represent", id="nan"),
        pytest.param("-Infinity", "n is a number that JSON cannot represent", id="infinity"),
        pytest.param("1e999", "n is a number that JSON cannot represent", id="too-large"),
        pytest.param("9007199254740993", "n is a whole number that many", id="rounded"),
        pytest.param("9" * 5000, "4300 digits", id="too-many-digits"),
        pytest.param('"\\ud83d"', "n contains an unpaired surrogate", id="half-of-a-pair"),
        pytest.param('"\\u0000"', "n contains a NUL", id="nul"),
        pytest.param('"a\nb"', "Invalid control character", id="line-feed"),
        pytest.param("[" * 50 + "]" * 50, "nested deeper than 48 levels", id="deep"),
        pytest.param("[" * 90_000 + "]" * 90_000, "nested deeper than 48 levels", id="very-deep"),
        pytest.param(f"[{'0,' * 80_000}0]", "more than 80000 values", id="many-values"),
    ],
)  # fmt: skip
def test_what_is_not_the_same_for_every_reader_is_refused(text: str, problem: str) -> None:
    for around in ("{}", "So: {}"):
        with pytest.raises(ValueError, match=problem):
            check_answer(around.replace("{}", f'{{"n": {text}}}'), {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("9007199254740992", 2**53, id="exact"),
        pytest.param("100000000000000000000", 10**20, id="exact-and-large"),
        pytest.param("-0", 0, id="minus-zero"),
        pytest.param("-0.0", 0, id="minus-zero-point-zero"),
        pytest.param("1e-999", 0, id="too-small"),
        pytest.param('1, "n": 2', 2, id="last-of-a-repeated-key"),
    ],
)
def test_numbers_are_those_that_javascript_reads(text: str, value: int) -> None:
    answer = check_answer(f'{{"n": {text}}}', NUMBER)
    assert json.loads(json.dumps(answer)) == {"n": value}
    assert not json.dumps(answer).startswith('{"n": -')


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "{" * 1_000_000, "[" * 1_000_000, "{ " * 500_000, '{"' * 500_000, "[]" * 500_000,
        "<think>" * 150_000, "</think>" * 130_000, "```\n" * 250_000, "`" * 1_000_000,
        '"\\' * 500_000, '{"\\"' + '\\"' * 500_000, '{"n":1}' * 140_000, "<" * 1_000_000,
        "{" + " " * 1_000_000, "".join("`" * n + "\n" for n in range(1400, 3, -1)),
    ],
    ids=range(15),
)  # fmt: skip
def test_the_time_is_proportional_to_the_length_of_the_message(text: str) -> None:
    begin = time.process_time()
    with pytest.raises(ValueError, match=r"it contains no JSON|the answer"):
        check_answer(text, {"type": "null", "not": {}})
    assert time.process_time() - begin < 10
