"""What the agent is told, and what its answer must be."""

from typing import Any

import pytest

from agentrun.api.messages import AgentMessage, MessagePart
from agentrun.api.v1alpha1 import AgentRunSpec
from agentrun.runner.prompt import build_prompt, check_answer

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def test_prompt_has_its_parts_in_order() -> None:
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
def test_invalid_structured_answer_reports_the_reason(
    text: str, schema: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_answer(text, schema)
