"""
The permissions that the profile does not grant: the broker asks a person for them.

A person permits what the question shows. So the question contains the complete tool call. If that
is too long, the question states how much is omitted, and its only options are to refuse.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from acp.schema import PermissionOption

from agentrun.api.events import EventType
from agentrun.api.messages import AgentMessage, render_text
from agentrun.api.printable import printable
from agentrun.api.v1alpha1 import Input, Question, QuestionOption
from agentrun.runner.acp.mapping import Announced, permission_text
from agentrun.runner.journal.journal import Journal
from agentrun.runner.questions import QuestionExpiredError, Questions

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
    text = _text_of(message)
    for fitting in (
        [one for one in options if text == one.option_id.casefold()],
        [one for one in options if text == one.name.strip().casefold()],
    ):
        if fitting:
            return next((one for one in fitting if refuses(one)), fitting[0])
    return None


def names_option(message: AgentMessage, question: Question) -> QuestionOption | None:
    """Return the option of an earlier question that an answer names."""
    text = _text_of(message)
    by_id = [one for one in question.options if text == one.id.casefold()]
    by_name = [one for one in question.options if text == one.name.strip().casefold()]
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


def _text_of(message: AgentMessage) -> str:
    for part in message.parts:
        named = (part.data or {}).get("option_id") if part.type == "data" else None
        if isinstance(named, str):
            return named.strip().casefold()
    return render_text(message).strip().casefold()


class PermissionBroker:
    """Asks for permissions, and stores the answers that the agent has not received yet."""

    def __init__(
        self,
        journal: Journal,
        questions: Questions,
        clean: Callable[[str], str],
        workspace: str,
        announced: Callable[[str], Announced],
        publish: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._questions = questions
        self._clean = clean
        self._workspace = workspace
        self._announced = announced
        self._publish = publish
        self._asking = asyncio.Lock()
        self._granted: tuple[str, str] | None = None
        """The digest of a call of an earlier pod, and the option that a person chose for it."""
        self._said: list[str] = []
        self.was_refused = False
        """Whether a person refused something in this turn."""

    def begin_turn(self) -> None:
        """Reset ``was_refused`` for a new turn."""
        self.was_refused = False

    def take_reply(self) -> str | None:
        """Return a person's reply that chose no option: the agent's next prompt. None if none."""
        return self._said.pop(0) if self._said else None

    async def ask(self, tool_call: dict[str, Any], options: list[PermissionOption]) -> str | None:
        """Return a person's choice; one question at a time. None if no option can be chosen."""
        async with self._asking:
            name = self._questions.new_id("permission")
            tool_call, is_whole = self._known(tool_call)
            asked = permission_question(name, tool_call, options, self._clean, is_whole=is_whole)
            if (granted := self._grant(tool_call, asked)) is not None:
                return granted
            question = asked.question
            # Who reads the question has what the agent said before it.
            self._publish()
            offered = [one.model_dump(include={"id", "name"}) for one in question.options]
            try:
                answer = await self._questions.ask(
                    question, call=asked.digest, options=offered, tool_call=tool_call
                )
            except QuestionExpiredError:
                # The turn is cancelled, which answers the request.
                return await asyncio.Future()
            chosen = self._chosen(answer, asked.options)
            self.note(tool_call, chosen.name if chosen else "cancelled")
            await self._questions.acknowledge(answer)
            return chosen.option_id if chosen else None

    def restore_answer(self, question: Question, answer: Input, call: str | None) -> str:
        """
        Apply the answer to a question of an earlier pod, and return the answer as text.

        If it chooses an option, and the agent requests the same call again, whose digest is
        ``call``, that request is answered with the option, once and without a question.
        """
        option = names_option(answer.message, question)
        if option is None:
            return render_text(answer.message)
        if call is not None:
            self._granted = (call, option.id)
        return option.name or option.id

    def note(self, tool_call: dict[str, Any], answer: str) -> None:
        """Record a permission request and its answer in the journal."""
        self._publish()
        text = permission_text(self._known(tool_call)[0], answer, self._workspace)
        self._journal.add(EventType.REASONING, {"text": text})

    def _known(self, tool_call: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Add the call's fields from its announcement; return whether the call is complete."""
        before = self._announced(str(tool_call.get("toolCallId")))
        added = before.call.keys() - tool_call.keys()
        return {**before.call, **tool_call}, before.is_whole or not added

    def _chosen(
        self, answer: Input, options: Sequence[PermissionOption]
    ) -> PermissionOption | None:
        chosen = chosen_option(answer.message, options)
        if chosen is None:
            self._said.append(render_text(answer.message))
            chosen = refusing_option(options)
        if chosen is None or refuses(chosen):
            self.was_refused = True
        return chosen

    def _grant(self, tool_call: dict[str, Any], asked: Permission) -> str | None:
        if self._granted is None or self._granted[0] != asked.digest:
            return None
        (_, wanted), self._granted = self._granted, None
        chosen = next((one for one in asked.options if one.option_id == wanted), None)
        if chosen is None:
            return None
        self.was_refused = self.was_refused or refuses(chosen)
        self.note(tool_call, f"before: {chosen.name}")
        return chosen.option_id
