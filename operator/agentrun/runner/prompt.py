"""Builds the agent's prompts, and reads its structured answer."""

import json
import re
from typing import Any

from agentrun.api.messages import render_text
from agentrun.api.v1alpha1 import AgentRunSpec

_FENCE = re.compile(r"```[a-zA-Z]*\s*\n(.*?)\n?\s*```", re.DOTALL)


def build_prompt(
    spec: AgentRunSpec, instructions: str | None, answer_tool: str | None = None
) -> str:
    """Build the prompt: the profile's instructions, the prompt, the message, the schema."""
    parts = []
    if instructions and instructions.strip():
        parts.append(f"<instructions>\n{instructions.strip()}\n</instructions>")
    if spec.prompt:
        parts.append(spec.prompt)
    if spec.input_message:
        parts.append(render_text(spec.input_message))
    if spec.output_schema is not None:
        parts.append(_schema_request(spec.output_schema, answer_tool))
    return "\n\n".join(part for part in parts if part.strip())


CONTINUE = "Your work was interrupted. Continue where you stopped."


def build_answer(
    question: str, answer: str, schema: dict[str, Any] | None, answer_tool: str | None = None
) -> str:
    """Build the prompt for an answer to a question of an agent that has ended since."""
    parts = [_schema_request(schema, answer_tool)] if schema is not None else []
    parts.append(f"You asked: {question}\nThe answer is:\n{answer}")
    return "\n\n".join(parts)


def build_repair(problem: str, schema: dict[str, Any], answer_tool: str | None = None) -> str:
    """Build the prompt that asks for an answer which satisfies the schema."""
    request = _schema_request(schema, answer_tool)
    return f"Your answer does not have the required form: {problem}\n\n{request}"


def _schema_request(schema: dict[str, Any], answer_tool: str | None) -> str:
    first = ""
    if answer_tool:
        first = f"Return your answer with the tool {answer_tool}. If you do not have this tool: "
    return first + (
        "Your last message must be one JSON value only, without prose or a code fence. "
        "It must satisfy this JSON Schema:\n\n" + json.dumps(schema, indent=2, ensure_ascii=False)
    )


def parse_answer(text: str) -> Any:
    """Parse the JSON in a message, with or without a code fence. Raises ValueError if none."""
    fenced = _FENCE.findall(text)
    for candidate in (text, *reversed(fenced), text[text.find("{") : text.rfind("}") + 1]):
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    raise ValueError("it contains no JSON")


def check_answer(text: str, schema: dict[str, Any]) -> Any:
    """Return the structured answer in ``text``. Raises ValueError if it is invalid."""
    # Few runs have a schema, and the library takes memory.
    from jsonschema import FormatChecker, SchemaError, ValidationError, validators
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    answer = parse_answer(text)
    validator = validators.validator_for(schema)
    try:
        # Without formats: that of patterns would be Python's.
        validator.check_schema(schema, format_checker=FormatChecker(formats=()))  # type: ignore[call-arg]
        # An empty registry: a schema's references must not make the runner fetch anything.
        validator(schema, registry=Registry()).validate(answer)
    except ValidationError as error:
        raise ValueError(f"at {error.json_path}: {error.message[:500]}") from error
    except Unresolvable as error:
        raise ValueError(f"outputSchema refers to another document: {error}") from error
    except SchemaError as error:
        raise ValueError(f"outputSchema is not a JSON Schema: {error.message[:500]}") from error
    return answer
