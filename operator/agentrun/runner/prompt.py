"""Builds the agent's prompts."""

import json
import unicodedata
from typing import Any

from agentrun.api.messages import render_text
from agentrun.api.v1alpha1 import AgentRunSpec
from agentrun.backends import EXTENSIONS

_COMMAND_SIGNS = frozenset("".join(one.command_signs for one in EXTENSIONS))
_HEAD = "Message from the user:"


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


def as_text(prompt: str) -> str:
    """
    Return ``prompt`` such that no agent takes it for one of its own commands.

    Agents look for the sign of a command after white space, and handle a command without asking
    their model.
    """
    first = next((one for one in prompt if not _is_skipped(one)), "")
    return f"{_HEAD}\n\n{prompt}" if first in _COMMAND_SIGNS else prompt


def _is_skipped(character: str) -> bool:
    """Whether it is white space, a control character, or invisible, such as a byte order mark."""
    return unicodedata.category(character)[0] in "CZ"


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
