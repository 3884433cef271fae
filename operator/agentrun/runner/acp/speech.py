"""
What an agent says, while it says it.

Messages and thoughts come in chunks of any size. Events are made of as many as fit well into one,
and name the message, so that whoever joins them has what the agent said. The whole of a message
is kept as well, for the end of the turn, up to a bound.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentrun.api.events import EventType
from agentrun.runner.large_text import LargeText

Draft = tuple[EventType, dict[str, Any]]

FLUSH_CHARACTERS = 4096
FINAL_BOUND = 1024 * 1024
"""How many characters of a message are kept until the end of the turn."""


@dataclass
class Speech:
    """A message or a thought."""

    kind: EventType
    message_id: str
    given_id: str = ""
    """What the agent itself calls it; empty if it gives it no id."""
    waiting: str = ""
    """What no event has said yet."""
    left_out: int = 0
    """How many characters of it ``whole`` leaves out."""
    _pieces: list[str] = field(default_factory=list)
    _kept: int = 0
    _total: int = 0

    @property
    def whole(self) -> str:
        """All of it, or its first part with a note."""
        text = "".join(self._pieces)
        if not self.left_out:
            return text
        note = f"[... {self.left_out} characters left out, which the agent_message events have ...]"
        return f"{text}\n{note}"

    def add(self, text: str, safe_length: Callable[[str], int]) -> list[Draft]:
        """Take a chunk, and return the events that are due."""
        if self.kind is EventType.AGENT_MESSAGE:
            self._keep(text, safe_length)
        if isinstance(text, LargeText):
            return [*self._take(len(self.waiting)), self._draft(text)]
        self.waiting += text
        return self.flush(safe_length) if len(self.waiting) >= FLUSH_CHARACTERS else []

    def flush(self, safe_length: Callable[[str], int]) -> list[Draft]:
        """Return what no event has said yet, as far as it can go. White space alone waits."""
        length = safe_length(self.waiting)
        if not self.waiting[:length].strip() and length < FLUSH_CHARACTERS:
            return []
        return self._take(length)

    def _take(self, length: int) -> list[Draft]:
        text, self.waiting = self.waiting[:length], self.waiting[length:]
        return [self._draft(text)] if text else []

    def _draft(self, text: str) -> Draft:
        return self.kind, {"text": text, "message_id": self.message_id}

    def _keep(self, text: str, safe_length: Callable[[str], int]) -> None:
        self._total += text.total_chars if isinstance(text, LargeText) else len(text)
        if self.left_out:
            self.left_out = self._total - self._kept
            return
        self._pieces.append(text[: FINAL_BOUND - self._kept])
        self._kept += len(self._pieces[-1])
        if self._kept < self._total:
            # What is kept ends here, and half of a secret would not be found in it.
            whole = "".join(self._pieces)
            self._pieces = [whole[: safe_length(whole)]]
            self._kept = len(self._pieces[0])
            self.left_out = self._total - self._kept
