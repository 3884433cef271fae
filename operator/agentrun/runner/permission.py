"""Asking a person for the leave that an agent wants, and reading the answer."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from acp.schema import PermissionOption

from agentrun.api.messages import AgentMessage, render_text
from agentrun.api.v1alpha1 import Question, QuestionOption
from agentrun.runner.acp.tools import relative

_MAX_TEXT = 4000
_MAX_NAME = 200
_MAX_OPTIONS = 32


def permission_question(
    name: str,
    tool_call: dict[str, Any],
    options: Sequence[PermissionOption],
    clean: Callable[[str], str],
    workspace: str,
) -> Question:
    """Build the question of an agent's request."""
    what = tool_call.get("title") or tool_call.get("toolCallId") or "something"
    text = f"The agent asks for permission: {relative(str(what), workspace)}"
    return Question(
        id=name,
        kind="permission",
        text=clean(text)[:_MAX_TEXT],
        options=[
            QuestionOption(id=one.option_id[:_MAX_NAME], name=clean(one.name)[:_MAX_NAME])
            for one in options[:_MAX_OPTIONS]
            if one.option_id
        ],
        asked_at=datetime.now(UTC),
    )


def chosen_option(
    message: AgentMessage, options: Sequence[PermissionOption]
) -> PermissionOption | None:
    """Return the option that an answer names, by id or name; None if it says something else."""
    said = _said(message)
    for one in options:
        if said in (one.option_id.casefold(), one.name.strip().casefold()):
            return one
    return None


def names_option(message: AgentMessage, question: Question) -> QuestionOption | None:
    """Return the option of a question, once asked, that an answer names."""
    said = _said(message)
    for one in question.options:
        if said in (one.id.casefold(), one.name.strip().casefold()):
            return one
    return None


def refusing_option(options: Sequence[PermissionOption]) -> PermissionOption | None:
    """Return the option that refuses, this once rather than for ever."""
    by_kind = {one.kind: one for one in reversed(options)}
    return by_kind.get("reject_once") or by_kind.get("reject_always")


def _said(message: AgentMessage) -> str:
    for part in message.parts:
        named = (part.data or {}).get("option_id") if part.type == "data" else None
        if isinstance(named, str):
            return named.strip().casefold()
    return render_text(message).strip().casefold()
