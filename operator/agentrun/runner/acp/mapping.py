"""
Turning what an agent says over ACP into events.

One mapper serves one conversation. It remembers what an event needs of earlier updates: the
message that is being said, and the tools that are at work. It reads no clock: whoever feeds it
says with ``flush`` when words should not wait any longer.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentrun.api.events import EventType
from agentrun.runner.acp.speech import FINAL_BOUND, Speech
from agentrun.runner.acp.tools import Tool, changes_of, relative
from agentrun.runner.large_text import LargeText

Draft = tuple[EventType, dict[str, Any]]
Update = dict[str, Any]

__all__ = ["ANSWER_TOOL", "FINAL_BOUND", "MAX_OPEN_TOOLS", "Announced", "Mapper", "permission_text"]

ANSWER_TOOL = "StructuredOutput"
"""Claude Code's tool for the answer that satisfies a schema."""
MAX_OPEN_TOOLS = 32
"""The most tools at work at a time; one more ends the oldest."""
_REMEMBERED = 4096
"""How many finished tools are known to have finished."""
_ID = 200
_UNREAD = "The agent sent more structure than the runner takes apart"
_IGNORED = frozenset({
    # What the agent could do, and echoes of what it was told.
    "available_commands_update", "config_option_update", "current_mode_update",
    "session_info_update", "user_message_chunk",
})  # fmt: skip


@dataclass(frozen=True)
class Announced:
    """What an agent has said of a tool, under the names that ACP has for it."""

    call: dict[str, Any]
    is_whole: bool = True
    """Whether nothing was left out of it."""


@dataclass
class Mapper:
    """Makes events of updates, in order."""

    clean: Callable[[str], str] = str
    """Takes the secrets out of a text."""
    safe_length: Callable[[str], int] = len
    """How much of a text can go without cutting a secret that is just beginning."""
    workspace: str = "/workspace"
    attempt: int = 1
    """Which of the run's attempts it is: each numbers the messages that the agent does not name."""
    cost: dict[str, Any] | None = None
    """What the agent last said the conversation costs."""
    _speech: Speech | None = None
    _said: Speech | None = None
    """The agent's last message."""
    _messages: int = 0
    """How many messages and thoughts the agent has not named."""
    _rests: dict[EventType, tuple[str, str]] = field(default_factory=dict)
    """The last message and the last thought, with the white space at their ends."""
    _tools: dict[str, Tool] = field(default_factory=dict)
    """The tools that have not finished, oldest first."""
    _finished: dict[str, None] = field(default_factory=dict)
    """The ids of the tools that have, oldest first."""
    _unknown: set[str] = field(default_factory=set)
    _answers: dict[str, str] = field(default_factory=dict)
    """What calls of the answer's tool that have not finished hold, as JSON."""
    answer: str | None = None
    """What the agent last answered with its own tool for it, as JSON."""

    @property
    def final_response(self) -> str | None:
        """The whole of the agent's last message, or what was kept of it."""
        return self._said.whole if self._said else None

    @property
    def is_cut(self) -> bool:
        """Whether the last message was too long to be kept as a whole."""
        return self._said is not None and self._said.left_out > 0

    def feed(self, update: Update) -> list[Draft]:
        """Take an update, and return the events it completes."""
        return [*self._note_structures(update), *self._feed(update)]

    def _feed(self, update: Update) -> list[Draft]:
        kind = update.get("sessionUpdate")
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
        if kind in _IGNORED:
            return []
        return self._note_unknown_update(str(kind), update)

    def announced(self, tool_id: str) -> Announced:
        """Return what the agent has said so far of a tool at work."""
        tool = self._tools.get(tool_id[:_ID])
        if tool is None:
            return Announced({})
        told = {
            "title": tool.title, "kind": tool.kind, "rawInput": tool.input, "content": tool.content,
        }  # fmt: skip
        return Announced({name: value for name, value in told.items() if value}, not tool.is_cut)

    def flush(self) -> list[Draft]:
        """Return what was said and shown so far, as far as it can go in pieces."""
        drafts: list[Draft] = []
        if self._speech:
            drafts += self._speech.flush(self.safe_length)
        for tool in self._tools.values():
            drafts += tool.flush()
        return drafts

    def end_speech(self) -> list[Draft]:
        """End the message that is being said, and return what is left of it."""
        speech, self._speech = self._speech, None
        if speech is None:
            return []
        drafts = speech.flush(len)
        self._rests[speech.kind] = (speech.given_id, speech.waiting)
        return drafts

    def end_turn(self) -> list[Draft]:
        """End everything that is under way: each tool that has started also finishes."""
        drafts = self.end_speech()
        for tool in list(self._tools.values()):
            drafts += tool.interrupt()
            if tool.finished:
                self._forget(tool)
        return drafts

    def begin_turn(self) -> None:
        """Forget the last answer: another is asked for."""
        self._said = self.answer = None

    def _emit_message(self, kind: EventType, update: Update) -> list[Draft]:
        text = _text_of(update.get("content"))
        if not text:
            return []
        drafts: list[Draft] = []
        given_id = str(update.get("messageId") or "")[:_ID]
        speech = self._speech
        if speech is None or (speech.kind, speech.given_id) != (kind, given_id):
            drafts += self.end_speech()
            speech = self._speech = self._begin(kind, given_id)
        if kind is EventType.AGENT_MESSAGE:
            self._said = speech
        return [*drafts, *speech.add(text, self.safe_length)]

    def _begin(self, kind: EventType, given_id: str) -> Speech:
        """Begin a message, or go on with one that something else came between."""
        if not given_id:
            self._messages += 1
            return Speech(kind, f"m{self.attempt}.{self._messages}")
        last_id, rest = self._rests.get(kind, ("", ""))
        return Speech(kind, given_id, given_id, rest if last_id == given_id else "")

    def _tool(self, update: Update) -> list[Draft]:
        tool_id = str(update.get("toolCallId") or "")[:_ID]
        if update.get("sessionUpdate") == "tool_call":
            # Whoever announces a tool again under the same id means another one.
            self._finished.pop(tool_id, None)
        if tool_id in self._finished:
            return []
        drafts: list[Draft] = []
        tool = self._tools.get(tool_id)
        if tool is None:
            drafts += self._make_room()
            tool = self._tools[tool_id] = Tool(tool_id, self.clean, self.safe_length)
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
        """Keep the whole of an answer the agent took itself, before the tool's input is bounded."""
        if tool.name != ANSWER_TOOL:
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
        """Let go of a tool that is finished; that it is, is kept for a while."""
        del self._tools[tool.id]
        self._finished[tool.id] = None
        if len(self._finished) > _REMEMBERED:
            del self._finished[next(iter(self._finished))]

    def _make_room(self) -> list[Draft]:
        """End the oldest tools if there are too many. One that has not started is forgotten."""
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
        """Keep what was too large to be read: no event comes of it otherwise."""
        return [
            (EventType.REASONING, {"text": f"{_UNREAD}: {name}", "raw_message": value})
            for name, value in update.items()
            if isinstance(value, LargeText) and value.media_type == "application/json"
        ]

    def _note_unknown_update(self, kind: str, update: Update) -> list[Draft]:
        """Note an update of an unknown kind: once, since there may be thousands."""
        kind = kind[:_ID]
        if kind in self._unknown or len(self._unknown) >= 20:
            return []
        self._unknown.add(kind)
        text = f"The agent sent an update that the runner does not know: {kind}"
        return [(EventType.REASONING, {"text": text, "raw_message": update})]


def _is_whole(value: Any) -> bool:
    """Whether nothing of it was so large that only its beginning is here."""
    if isinstance(value, dict):
        return all(_is_whole(one) for one in value.values())
    if isinstance(value, list):
        return all(_is_whole(one) for one in value)
    return not isinstance(value, LargeText)


def permission_text(tool_call: Update, answer: str, workspace: str) -> str:
    """Say what an agent asked leave for, and what it was told."""
    what = tool_call.get("title") or tool_call.get("toolCallId") or "something"
    return f"Asked for permission: {relative(str(what), workspace)}. Answered: {answer}."


def _text_of(content: Any) -> str:
    if not isinstance(content, dict):
        return ""
    if content.get("type") == "text":
        text = content.get("text") or ""
        return text if isinstance(text, LargeText) else str(text)
    name = content.get("name") or content.get("uri") or content.get("type") or "content"
    return f"[{str(name)[:_ID]}]"


def _items(update: Update) -> list[dict[str, Any]]:
    entries = [entry for entry in update.get("entries") or [] if isinstance(entry, dict)]
    return [
        {
            "text": str(entry.get("content") or ""),
            "completed": entry.get("status") == "completed",
            "status": entry.get("status"),
            "priority": entry.get("priority"),
        }
        for entry in entries
    ]
