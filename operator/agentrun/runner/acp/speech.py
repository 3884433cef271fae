"""
An agent's message or thought while it is streamed.

Messages and thoughts arrive in chunks of any size. Each event contains as many as fit well into
one, and has the message's id, so that a reader can join the texts. The text of a message is also
retained, up to a limit, until the end of the prompt turn.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentrun.api.events import EventType
from agentrun.runner.journal.large_text import LargeText, Text

Draft = tuple[EventType, dict[str, Any]]

FLUSH_CHARACTERS = 4096
FINAL_BOUND = 1024 * 1024
"""The number of characters of a message that are retained until the end of the prompt turn."""


@dataclass
class Speech:
    """A message or a thought."""

    kind: EventType
    message_id: str
    given_id: str = ""
    """The agent's own id of the message; empty if it gives none."""
    waiting: str = ""
    """Text that is in no event yet."""
    left_out: int = 0
    """The number of characters that ``whole`` leaves out."""
    _pieces: list[str] = field(default_factory=list)
    _kept: int = 0
    _total: int = 0

    @property
    def whole(self) -> str:
        """The full text, or its first part with a note."""
        text = "".join(self._pieces)
        if not self.left_out:
            return text
        note = f"[... {self.left_out} characters left out: see the agent_message events ...]"
        return f"{text}\n{note}"

    def add(self, text: Text, safe_length: Callable[[str], int]) -> list[Draft]:
        """Append a chunk, and return the events that are due."""
        if isinstance(text, LargeText):
            self._keep(text.preview, text.length, safe_length)
            return [*self._take(len(self.waiting)), self._draft(text)]
        self._keep(text, len(text), safe_length)
        self.waiting += text
        return self.flush(safe_length) if len(self.waiting) >= FLUSH_CHARACTERS else []

    def flush(self, safe_length: Callable[[str], int]) -> list[Draft]:
        """
        Return an event with the buffered text, as far as it can be emitted, unless it is blank.
        """
        length = safe_length(self.waiting)
        if not self.waiting[:length].strip() and length < FLUSH_CHARACTERS:
            return []
        return self._take(length)

    def _take(self, length: int) -> list[Draft]:
        text, self.waiting = self.waiting[:length], self.waiting[length:]
        return [self._draft(text)] if text else []

    def _draft(self, text: Text) -> Draft:
        return self.kind, {"text": text, "message_id": self.message_id}

    def _keep(self, text: str, length: int, safe_length: Callable[[str], int]) -> None:
        """Retain a message's chunk of ``length`` characters, of which ``text`` is the beginning."""
        if self.kind is not EventType.AGENT_MESSAGE:
            return
        self._total += length
        if self.left_out:
            self.left_out = self._total - self._kept
            return
        self._pieces.append(text[: FINAL_BOUND - self._kept])
        self._kept += len(self._pieces[-1])
        if self._kept < self._total:
            # The retained text ends here, and half of a secret would not be redacted.
            whole = "".join(self._pieces)
            self._pieces = [whole[: safe_length(whole)]]
            self._kept = len(self._pieces[0])
            self.left_out = self._total - self._kept
