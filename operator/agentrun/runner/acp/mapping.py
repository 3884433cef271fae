"""
Mapping of an agent's ACP session updates to events.

One mapper serves one conversation. It stores the state that events need of earlier updates: the
message in progress and the open tool calls. It reads no clock: the caller invokes ``flush`` when
buffered text should be emitted.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentrun.api.events import EventType
from agentrun.backends import EXTENSIONS
from agentrun.runner.acp.streams import FINAL_BOUND, Continuation, Draft, Speech, whole_text
from agentrun.runner.acp.tools import Tool, changes_of, relative
from agentrun.runner.answer_check import check_apart
from agentrun.runner.journal.large_text import LargeText, Text, preview_of, text_of, with_previews

Update = dict[str, Any]

_ANSWER_TOOLS = frozenset(one.answer_tool for one in EXTENSIONS if one.answer_tool)
MAX_OPEN_TOOLS = 32
"""The maximum number of open tool calls; one more interrupts the oldest."""
_REMEMBERED = 4096
"""The number of ids of finished tool calls that are remembered."""
_ID = 200
_UNREAD = "The agent sent a structure that is too large to parse"
SILENT = frozenset({
    # What the agent offers, and echoes of what it was sent.
    "available_commands_update", "config_option_update", "current_mode_update",
    "session_info_update", "user_message_chunk",
})  # fmt: skip


@dataclass(frozen=True)
class Announced:
    """What an agent has reported about a tool call, with ACP's field names."""

    call: dict[str, Any]
    is_whole: bool = True
    """False if something was left out."""


@dataclass
class UpdateMapper:
    """Maps updates to events, in order."""

    clean: Callable[[str], str] = str
    """Redacts secrets in a text."""
    safe_length: Callable[[str], int] = len
    """The length of a text that can be emitted without splitting a secret at its end."""
    continuation: Continuation = whole_text
    """Removes from a text the rest of a secret whose beginning was emitted."""
    workspace: str = "/workspace"
    attempt: int = 1
    """The attempt's number, which is part of the ids of messages that the agent gives no id."""
    cost: dict[str, Any] | None = None
    """The cost of the conversation that the agent reported last."""
    _speech: Speech | None = None
    _said: Speech | None = None
    """The agent's last message."""
    _messages: int = 0
    """The number of messages and thoughts without an id from the agent."""
    _rests: dict[EventType, Speech] = field(default_factory=dict)
    """The last message and the last thought, which may go on."""
    _tools: dict[str, Tool] = field(default_factory=dict)
    """The tool calls that have not finished, oldest first."""
    _finished: dict[str, None] = field(default_factory=dict)
    """The ids of the tool calls that have finished, oldest first."""
    _unknown: set[str] = field(default_factory=set)
    _answers: dict[str, str] = field(default_factory=dict)
    """By unfinished call of an answer tool, its input as JSON."""
    answer: str | None = None
    """The input of the last completed call of an answer tool, as JSON."""
    has_worked: bool = False
    """Whether the turn had anything apart from messages: a thought, a tool call or a plan."""

    @property
    def final_response(self) -> str | None:
        """The agent's last message, in full or up to FINAL_BOUND."""
        return self._said.whole if self._said else None

    @property
    def is_cut(self) -> bool:
        """Whether the last message was too long to be retained in full."""
        return self._said is not None and self._said.left_out > 0

    def feed(self, update: Update) -> list[Draft]:
        """Apply an update, and return the events that it completes."""
        return [*self._note_structures(update), *self._feed(update)]

    def _feed(self, update: Update) -> list[Draft]:
        kind = update.get("sessionUpdate")
        self.has_worked = self.has_worked or _is_work(update)
        match kind:
            case "agent_message_chunk":
                return self._emit_message(EventType.AGENT_MESSAGE, update)
            case "agent_thought_chunk":
                return self._emit_message(EventType.REASONING, update)
            case "tool_call" | "tool_call_update":
                return [*self.end_speech(), *self._tool(update)]
            case "plan":
                return [*self.end_speech(), (EventType.TODO_UPDATED, {"items": _items(update)})]
            case "usage_update":
                cost = update.get("cost")
                self.cost = cost if isinstance(cost, dict) else self.cost
                return []
        if kind in SILENT:
            return []
        return self._note_unknown_update(preview_of(kind), update)

    def announced(self, tool_id: str) -> Announced:
        """Return what the agent has reported so far about an open tool call."""
        tool = self._tools.get(tool_id[:_ID])
        if tool is None:
            return Announced({})
        values = {
            "title": tool.title, "kind": tool.kind, "rawInput": tool.input, "content": tool.content,
        }  # fmt: skip
        return Announced({name: value for name, value in values.items() if value}, not tool.is_cut)

    def let_go(self) -> list[Draft]:
        """Return events for all buffered text and output; both may go on."""
        drafts: list[Draft] = []
        if self._speech:
            drafts += self._speech.let_go(self.safe_length)
        for tool in self._tools.values():
            drafts += tool.let_go()
        return drafts

    def end_speech(self) -> list[Draft]:
        """End the message in progress, and return the event for its remaining text."""
        speech, self._speech = self._speech, None
        if speech is None:
            return []
        drafts = speech.let_go(self.safe_length)
        self._rests[speech.kind] = speech
        return drafts

    def end_turn(self) -> list[Draft]:
        """End everything in progress: each tool call that has started also finishes."""
        drafts = self.end_speech()
        for tool in list(self._tools.values()):
            drafts += tool.interrupt()
            if tool.finished:
                self._forget(tool)
        return drafts

    def begin_turn(self) -> None:
        """Reset the answer of the previous prompt turn."""
        self._said = self.answer = None
        self.has_worked = False

    def _emit_message(self, kind: EventType, update: Update) -> list[Draft]:
        text = _text_of(update.get("content"))
        if not text:
            return []
        drafts: list[Draft] = []
        given_id = preview_of(update.get("messageId") or "")[:_ID]
        speech = self._speech
        if speech is None or (speech.kind, speech.given_id) != (kind, given_id):
            drafts += self.end_speech()
            speech = self._speech = self._begin(kind, given_id)
        if kind is EventType.AGENT_MESSAGE:
            self._said = speech
        return [*drafts, *speech.add(text, self.safe_length)]

    def _begin(self, kind: EventType, given_id: str) -> Speech:
        """Begin a message, or continue one that was interrupted by other updates."""
        if not given_id:
            self._messages += 1
            name = f"m{self.attempt}.{self._messages}"
            return Speech(kind, name, continuation=self.continuation)
        last = self._rests.get(kind)
        is_same = last is not None and last.given_id == given_id
        rest, shown = (last.waiting, last.shown) if last and is_same else ("", "")
        return Speech(kind, given_id, given_id, rest, shown, self.continuation)

    def _tool(self, update: Update) -> list[Draft]:
        tool_id = preview_of(update.get("toolCallId") or "")[:_ID]
        if update.get("sessionUpdate") == "tool_call":
            # An agent that announces a tool call again under the same id means another one.
            self._finished.pop(tool_id, None)
        if tool_id in self._finished:
            return []
        drafts: list[Draft] = []
        tool = self._tools.get(tool_id)
        if tool is None:
            drafts += self._make_room()
            tool = self._tools[tool_id] = Tool(
                tool_id, self.clean, self.safe_length, self.continuation
            )
        tool.merge(update)
        drafts += tool.advance(update)
        self._note_answer(tool, update)
        if tool.finished:
            changes = changes_of(tool, self.workspace)
            if changes:
                state = "failed" if tool.is_error else "completed"
                data = {"status": state, "changes": changes, "tool_use_id": tool_id}
                drafts.append((EventType.FILE_CHANGED, data))
            self._forget(tool)
        else:
            tool.bound()
        return drafts

    def _note_answer(self, tool: Tool, update: Update) -> None:
        """Store the complete input of an answer tool before the tool's input is trimmed."""
        if tool.name not in _ANSWER_TOOLS:
            return
        given = update.get("rawInput")
        if given and _is_whole(given):
            self._answers[tool.id] = json.dumps(given)
        if not tool.finished:
            return
        text = self._answers.pop(tool.id, None)
        if text is not None and tool.status == "completed":
            self.answer = self.clean(text)

    def _forget(self, tool: Tool) -> None:
        """Discard a finished tool call; its id is remembered for a while."""
        del self._tools[tool.id]
        self._finished[tool.id] = None
        if len(self._finished) > _REMEMBERED:
            del self._finished[next(iter(self._finished))]

    def _make_room(self) -> list[Draft]:
        """
        Interrupt the oldest tool calls if there are too many. Those not started are discarded.
        """
        drafts: list[Draft] = []
        while len(self._tools) >= MAX_OPEN_TOOLS:
            oldest = next(iter(self._tools.values()))
            drafts += oldest.interrupt()
            if oldest.finished:
                self._forget(oldest)
            else:
                del self._tools[oldest.id]
        return drafts

    @staticmethod
    def _note_structures(update: Update) -> list[Draft]:
        """Return events with structures that were too large to parse: no other event has them."""
        return [
            (EventType.REASONING, {"text": f"{_UNREAD}: {name}", "raw_message": value})
            for name, value in update.items()
            if isinstance(value, LargeText) and value.is_structure
        ]

    def _note_unknown_update(self, kind: str, update: Update) -> list[Draft]:
        """Record an update of an unknown kind, once per kind, since there may be thousands."""
        kind = kind[:_ID]
        if kind in self._unknown or len(self._unknown) >= 20:
            return []
        self._unknown.add(kind)
        text = f"The agent sent an update that the runner does not know: {kind}"
        return [(EventType.REASONING, {"text": text, "raw_message": update})]


def _is_work(update: Update) -> bool:
    """Whether an update reports something other than a message; agents also send empty plans."""
    kind = update.get("sessionUpdate")
    if kind == "plan":
        return bool(update.get("entries"))
    return kind not in SILENT | {"agent_message_chunk", "usage_update"}


def _is_whole(value: Any) -> bool:
    """Whether no part of the value is a LargeText, of which only the preview is in memory."""
    return bool(with_previews(value) == value)


def permission_text(tool_call: Update, answer: str, workspace: str) -> str:
    """Describe a permission request of an agent and the answer it was given."""
    what = tool_call.get("title") or tool_call.get("toolCallId") or "something"
    return f"Asked for permission: {relative(str(what), workspace)}. Answered: {answer}."


def _text_of(content: Any) -> Text:
    if not isinstance(content, dict):
        return ""
    if content.get("type") == "text":
        return text_of(content.get("text") or "")
    name = content.get("name") or content.get("uri") or content.get("type") or "content"
    return f"[{preview_of(name)[:_ID]}]"


def _items(update: Update) -> list[dict[str, Any]]:
    entries = update.get("entries")
    # A plan that is too large to parse is a LargeText.
    known = [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    return [
        {
            "text": text_of(entry.get("content") or ""),
            "completed": entry.get("status") == "completed",
            "status": entry.get("status"),
            "priority": entry.get("priority"),
        }
        for entry in known
    ]


async def find_answer(mapper: UpdateMapper, schema: dict[str, Any]) -> Any:
    """Return the turn's structured answer. Raises ValueError if none satisfies the schema."""
    if mapper.answer is None and mapper.is_cut:
        raise ValueError(f"it is longer than {FINAL_BOUND} characters")
    text = mapper.final_response if mapper.answer is None else mapper.answer
    return await check_apart(text or "", schema)
