"""
Turning what an agent says over ACP into events.

One mapper serves one conversation. It remembers what an event needs of earlier updates: the
message that is being said, and the tools that are at work. It reads no clock: whoever feeds it
says with ``flush`` when words should not wait any longer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentrun.api.events import EventType
from agentrun.runner.acp.tools import Tool, changes_of, relative

Draft = tuple[EventType, dict[str, Any]]
Update = dict[str, Any]

FLUSH_CHARACTERS = 4096
MAX_OPEN_TOOLS = 32
"""The most tools at work at a time; one more ends the oldest."""
_FINAL_BOUND = 1024 * 1024
_IGNORED = frozenset({
    # What the agent could do, and echoes of what it was told.
    "available_commands_update", "config_option_update", "current_mode_update",
    "session_info_update", "user_message_chunk",
})  # fmt: skip


@dataclass
class _Speech:
    """A message or a thought, while it is being said."""

    kind: EventType
    message_id: str | None
    waiting: str = ""
    """What no event has said yet."""
    whole: str = ""


@dataclass
class Mapper:
    """Makes events of updates, in order."""

    safe_length: Callable[[str], int] = len
    """How much of a text can go without cutting a secret that is just beginning."""
    workspace: str = "/workspace"
    final_response: str | None = None
    """The whole of the agent's last message."""
    cost: dict[str, Any] | None = None
    """What the agent last said the conversation costs."""
    _speech: _Speech | None = None
    _tools: dict[str, Tool] = field(default_factory=dict)
    _open: dict[str, Tool] = field(default_factory=dict)
    """The tools that have not finished, oldest first."""
    _unknown: set[str] = field(default_factory=set)

    def feed(self, update: Update) -> list[Draft]:
        """Take an update, and return the events it completes."""
        kind = update.get("sessionUpdate")
        match kind:
            case "agent_message_chunk":
                return self._say(EventType.AGENT_MESSAGE, update)
            case "agent_thought_chunk":
                return self._say(EventType.REASONING, update)
            case "tool_call" | "tool_call_update":
                return [*self.end_speech(), *self._tool(update)]
            case "plan":
                return [*self.end_speech(), (EventType.TODO_UPDATED, {"items": _items(update)})]
            case "usage_update":
                self.cost = update.get("cost") or self.cost
                return []
        if kind in _IGNORED:
            return []
        return self._wonder(str(kind), update)

    def flush(self) -> list[Draft]:
        """Return what was said and shown so far, as far as it can go in pieces."""
        drafts: list[Draft] = []
        if self._speech:
            drafts += self._flush_speech(self._speech, self.safe_length(self._speech.waiting))
        for tool in self._tools.values():
            drafts += tool.flush(self.safe_length)
        return drafts

    def end_speech(self) -> list[Draft]:
        """End the message that is being said, and return what is left of it."""
        speech, self._speech = self._speech, None
        return self._flush_speech(speech, len(speech.waiting)) if speech else []

    def end_turn(self) -> list[Draft]:
        """End everything that is under way: each tool that has started also finishes."""
        drafts = self.end_speech()
        for tool in self._tools.values():
            drafts += tool.interrupt()
        self._open = {key: tool for key, tool in self._open.items() if not tool.finished}
        return drafts

    def begin_turn(self) -> None:
        """Forget the last answer: another is asked for."""
        self.final_response = None

    def _say(self, kind: EventType, update: Update) -> list[Draft]:
        text = _text_of(update.get("content"))
        if not text:
            return []
        drafts: list[Draft] = []
        message_id = update.get("messageId")
        speech = self._speech
        if speech is None or (speech.kind, speech.message_id) != (kind, message_id):
            drafts += self.end_speech()
            speech = self._speech = _Speech(kind, message_id)
        speech.waiting += text
        if kind is EventType.AGENT_MESSAGE:
            speech.whole = (speech.whole + text)[:_FINAL_BOUND]
            self.final_response = speech.whole
        if len(speech.waiting) >= FLUSH_CHARACTERS:
            drafts += self._flush_speech(speech, self.safe_length(speech.waiting))
        return drafts

    @staticmethod
    def _flush_speech(speech: _Speech, length: int) -> list[Draft]:
        text, speech.waiting = speech.waiting[:length], speech.waiting[length:]
        return [(speech.kind, {"text": text})] if text.strip() else []

    def _tool(self, update: Update) -> list[Draft]:
        tool_id = str(update.get("toolCallId") or "")
        drafts: list[Draft] = []
        tool = self._tools.get(tool_id)
        if tool is None:
            drafts += self._make_room()
            tool = self._tools[tool_id] = self._open[tool_id] = Tool(tool_id)
        if tool.finished:
            return drafts
        tool.merge(update)
        drafts += tool.advance(self.safe_length)
        if tool.finished:
            changes = changes_of(tool, self.workspace)
            if changes:
                state = "failed" if tool.is_error else "completed"
                data = {"status": state, "changes": changes, "tool_use_id": tool_id}
                drafts.append((EventType.FILE_CHANGED, data))
            tool.forget()
            del self._open[tool_id]
        else:
            tool.bound(self.safe_length)
        return drafts

    def _make_room(self) -> list[Draft]:
        """End the oldest tools if there are too many. One that has not started is forgotten."""
        drafts: list[Draft] = []
        while len(self._open) >= MAX_OPEN_TOOLS:
            tool = self._open.pop(next(iter(self._open)))
            drafts += tool.interrupt()
            if not tool.started:
                del self._tools[tool.id]
        return drafts

    def _wonder(self, kind: str, update: Update) -> list[Draft]:
        """Note an update of an unknown kind: once, since there may be thousands."""
        if kind in self._unknown or len(self._unknown) >= 20:
            return []
        self._unknown.add(kind)
        text = f"The agent sent an update that the runner does not know: {kind}"
        return [(EventType.REASONING, {"text": text, "raw_message": update})]


def permission_text(tool_call: Update, answer: str, workspace: str) -> str:
    """Say what an agent asked leave for, and what it was told."""
    what = tool_call.get("title") or tool_call.get("toolCallId") or "something"
    return f"Asked for permission: {relative(str(what), workspace)}. Answered: {answer}."


def _text_of(content: Any) -> str:
    if not isinstance(content, dict):
        return ""
    if content.get("type") == "text":
        return str(content.get("text") or "")
    name = content.get("name") or content.get("uri") or content.get("type") or "content"
    return f"[{name}]"


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
