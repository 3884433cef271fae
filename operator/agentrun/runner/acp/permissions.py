"""
Builds the questions for an agent's permission requests, and reads the answers.

A person permits what the question shows. So the question contains the complete tool call. If that
is too long, the question states how much is omitted, and its only options are to refuse.
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
"""The greatest length of a question, in characters; less than is read of any large message."""
_MAX_NAME = 200
_MAX_OPTIONS = 32
_NOT_SHOWN = frozenset({"toolCallId", "title", "status"})
"""The id, which differs for each request; title and status, which the first line covers."""


@dataclass(frozen=True)
class Permission:
    """A permission question, and the agent's options that an answer may choose."""

    question: Question
    options: tuple[PermissionOption, ...]
    digest: str
    """Digest of the complete call and all options, without the call's id."""


def permission_question(
    name: str,
    tool_call: dict[str, Any],
    options: Sequence[PermissionOption],
    clean: Callable[[str], str],
    *,
    is_whole: bool = True,
) -> Permission:
    """
    Build the question for an agent's permission request.

    ``is_whole`` states whether ``tool_call`` is everything that the agent has sent of the call.
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
        why = f"{why}, and" if why else "the agent's earlier updates were too large, and"
        why = f"{why} a part of the call was not retained"
    if why:
        offered = [one for one in offered if refuses(one)]
        text += f"\n[{why}: the request can only be refused. Ask the agent for something shorter.]"
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
    Return the option that an answer names, by id or else by name; None if it names none.

    If several options match, one that refuses takes precedence.
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
    """Return the option of an earlier question that an answer names."""
    said = _said(message)
    by_id = [one for one in question.options if said == one.id.casefold()]
    by_name = [one for one in question.options if said == one.name.strip().casefold()]
    return next(iter(by_id or by_name), None)


def refusing_option(options: Sequence[PermissionOption]) -> PermissionOption | None:
    """Return the option that refuses; once, if possible, rather than always."""
    by_kind = {one.kind: one for one in reversed(options)}
    return by_kind.get("reject_once") or by_kind.get("reject_always")


def refuses(option: PermissionOption) -> bool:
    """Whether an option refuses the permission."""
    return option.kind.startswith("reject")


def _describe(tool_call: dict[str, Any]) -> str:
    """Describe a call completely: its title, and the rest as JSON."""
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
