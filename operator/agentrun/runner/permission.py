"""
Asking a person for the leave that an agent wants, and reading the answer.

A person gives leave for what they were shown. So the question has the whole call in it; where that
is too long, it says how much is left out, and offers only to refuse.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from acp.schema import PermissionOption

from agentrun.api.messages import AgentMessage, render_text
from agentrun.api.printable import printable
from agentrun.api.v1alpha1 import Question, QuestionOption

MAX_TEXT = 16_000
"""The characters of the longest question; less than what is read of a large message at least."""
_MAX_NAME = 200
_MAX_OPTIONS = 32
_NOT_SHOWN = frozenset({"toolCallId", "title", "status"})
"""The id, which is another one whenever the agent asks; and what stands in the question's head."""


@dataclass(frozen=True)
class Permission:
    """A question for permission, and which of the agent's options an answer may choose."""

    question: Question
    options: tuple[PermissionOption, ...]
    digest: str
    """Of the whole call and all options, the call's id left out."""


def permission_question(
    name: str,
    tool_call: dict[str, Any],
    options: Sequence[PermissionOption],
    clean: Callable[[str], str],
    *,
    is_whole: bool = True,
) -> Permission:
    """
    Build the question of an agent's request.

    ``is_whole`` says whether ``tool_call`` is all of what the agent has said of the call.
    """
    whole = printable(clean(_describe(tool_call)))
    offered = [one for one in options if _can_be_shown(one, clean)]
    left_out = len(options) - len(offered[:_MAX_OPTIONS])
    offered = offered[:_MAX_OPTIONS]
    text, why = whole, ""
    if len(whole) > MAX_TEXT:
        text = whole[:MAX_TEXT]
        why = f"{len(whole) - MAX_TEXT} of {len(whole)} characters are not shown"
    if not is_whole:
        why = f"{why}, and" if why else "what the agent said before was too large, and"
        why = f"{why} a part of the call was not kept"
    if why:
        offered = [one for one in offered if refuses(one)]
        text += f"\n[{why}: this can only be refused. Ask the agent for something shorter.]"
    elif left_out:
        text += f"\n[{left_out} of the agent's options are too long or too many to be shown]"
    question = Question(
        id=name,
        kind="permission",
        text=text,
        options=[QuestionOption(id=one.option_id, name=_name(one, clean)) for one in offered],
        asked_at=datetime.now(UTC),
    )
    return Permission(question, tuple(offered), _digest(tool_call, options))


def chosen_option(
    message: AgentMessage, options: Sequence[PermissionOption]
) -> PermissionOption | None:
    """
    Return the option that an answer names, by id or else by name; None if it says something else.

    Where it fits several, the one that refuses is meant.
    """
    said = _said(message)
    for fitting in (
        [one for one in options if said == one.option_id.casefold()],
        [one for one in options if said == one.name.strip().casefold()],
    ):
        if fitting:
            return next((one for one in fitting if refuses(one)), fitting[0])
    return None


def names_option(message: AgentMessage, question: Question) -> QuestionOption | None:
    """Return the option of a question, once asked, that an answer names."""
    said = _said(message)
    by_id = [one for one in question.options if said == one.id.casefold()]
    by_name = [one for one in question.options if said == one.name.strip().casefold()]
    return next(iter(by_id or by_name), None)


def refusing_option(options: Sequence[PermissionOption]) -> PermissionOption | None:
    """Return the option that refuses, this once rather than for ever."""
    by_kind = {one.kind: one for one in reversed(options)}
    return by_kind.get("reject_once") or by_kind.get("reject_always")


def refuses(option: PermissionOption) -> bool:
    """Whether an option gives no leave."""
    return option.kind.startswith("reject")


def _describe(tool_call: dict[str, Any]) -> str:
    """Say all of a call: its title, and the rest as JSON."""
    what = tool_call.get("title") or tool_call.get("toolCallId") or "something"
    text = f"The agent asks for permission: {what}"
    rest = {name: value for name, value in tool_call.items() if name not in _NOT_SHOWN}
    return f"{text}\n{json.dumps(rest, indent=2, ensure_ascii=False)}" if rest else text


def _can_be_shown(option: PermissionOption, clean: Callable[[str], str]) -> bool:
    return 0 < len(option.option_id) <= _MAX_NAME and len(_name(option, clean)) <= _MAX_NAME


def _name(option: PermissionOption, clean: Callable[[str], str]) -> str:
    return printable(clean(option.name))


def _digest(tool_call: dict[str, Any], options: Sequence[PermissionOption]) -> str:
    call = {name: value for name, value in tool_call.items() if name != "toolCallId"}
    choices = [[one.option_id, one.name, one.kind] for one in options]
    return hashlib.sha256(json.dumps([call, choices], sort_keys=True).encode()).hexdigest()


def _said(message: AgentMessage) -> str:
    for part in message.parts:
        named = (part.data or {}).get("option_id") if part.type == "data" else None
        if isinstance(named, str):
            return named.strip().casefold()
    return render_text(message).strip().casefold()
