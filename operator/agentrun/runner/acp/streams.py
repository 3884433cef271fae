"""
What arrives in pieces: an agent's messages and thoughts, and the output of its tools' terminals.

Pieces have any size. Each event contains as many as fit well into one; the events of a message have
its id, so that a reader can join the texts. What may be the beginning of a secret waits for the
next piece, until ``let_go`` publishes it: of a secret that then goes on, the rest is removed. A
message is also retained until the end of the prompt turn, and an output until the end of its tool
call, both up to a limit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentrun.api.events import EventType
from agentrun.runner.journal.large_text import LargeText, Text, preview_of, text_of

Draft = tuple[EventType, dict[str, Any]]
SafeLength = Callable[[str], int]
Continuation = Callable[[str, str], str]
"""Removes from a text the rest of a secret that began in the text before it."""


def whole_text(_: str, text: str) -> str:
    """Return ``text``: the Continuation where there are no secrets."""
    return text


FLUSH_CHARACTERS = 4096
"""Buffered text is emitted from this many characters on."""
FINAL_BOUND = 1024 * 1024
"""The number of characters of a message that are retained until the end of the prompt turn."""
_KEPT = 32 * 1024
"""The number of characters retained of the beginning of an output, and of its end."""


@dataclass
class Speech:
    """A message or a thought."""

    kind: EventType
    message_id: str
    given_id: str = ""
    """The agent's own id of the message; empty if it gives none."""
    waiting: str = ""
    """Text that is in no event yet."""
    shown: str = ""
    """The end of the published text, if it may be the beginning of a secret."""
    continuation: Continuation = whole_text
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

    def flush(self, safe_length: SafeLength) -> list[Draft]:
        """
        Return an event with the buffered text, as far as it can be emitted, unless it is blank.
        """
        length = max(0, safe_length(self.shown + self.waiting) - len(self.shown))
        if not self.waiting[:length].strip() and length < FLUSH_CHARACTERS:
            return []
        return self._take(length)

    def let_go(self, safe_length: SafeLength) -> list[Draft]:
        """Return an event with all of the buffered text, unless it is blank."""
        if not self.waiting.strip():
            return []
        whole = self.shown + self.waiting
        drafts = self._take(len(self.waiting))
        self.shown = whole[safe_length(whole) :]
        return drafts

    def _take(self, length: int) -> list[Draft]:
        text, self.waiting = self.waiting[:length], self.waiting[length:]
        if not text:
            return []
        text, self.shown = self.continuation(self.shown, text), ""
        return [self._draft(text)]

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


@dataclass
class TerminalOutput:
    """The output of the terminal of one tool call."""

    clean: Callable[[str], str]
    safe_length: SafeLength
    continuation: Continuation = whole_text
    waiting: str = ""
    """Output not emitted yet. Not redacted, since a secret may continue in the next piece."""
    _shown: str = ""
    """The end of the emitted output, unredacted, if it may be the beginning of a secret."""
    _first: str = ""
    _last: str = ""
    _left_out: int = 0

    def __bool__(self) -> bool:
        return bool(self.waiting or self._first)

    def add(self, text: Text) -> list[Text]:
        """Append output; return what is to be emitted immediately, because it is very large."""
        if not isinstance(text, LargeText):
            self.waiting += text
            return []
        waiting = self.take(len)
        self._keep(text.preview, text.left_out)
        return [waiting, text] if waiting else [text]

    def take(self, safe_length: SafeLength | None = None) -> str:
        """Return the buffered output, redacted, as far as it can be emitted."""
        known = self._shown
        length = max(0, (safe_length or self.safe_length)(known + self.waiting) - len(known))
        return self._take(length)

    def let_go(self) -> str:
        """Return all of the buffered output, redacted."""
        whole = self._shown + self.waiting
        text = self._take(len(self.waiting))
        self._shown = whole[self.safe_length(whole) :]
        return text

    def _take(self, length: int) -> str:
        if not length:
            return ""
        text, self.waiting = self.waiting[:length], self.waiting[length:]
        text, self._shown = self.clean(self.continuation(self._shown, text)), ""
        self._keep(text)
        return text

    def whole(self) -> str:
        """Return the full output; if it is too large, its beginning and its end."""
        self.take(len)
        if not self._left_out:
            return self._first + self._last
        note = f"[... {self._left_out} characters left out: see the command_updated events ...]"
        return f"{self._first}\n{note}\n{self._last}"

    def _keep(self, text: str, left_out: int = 0) -> None:
        # The text is redacted, so it can be cut anywhere.
        room = 0 if self._last or self._left_out else _KEPT - len(self._first)
        self._first += text[:room]
        last = self._last + text[room:]
        self._last = last[-_KEPT:]
        self._left_out += max(0, len(last) - _KEPT)
        if left_out:
            self._left_out += left_out + len(self._last)
            self._last = ""


def texts_of(content: list[dict[str, Any]]) -> list[Text]:
    """List the texts in a tool call's content."""
    inner = (item.get("content") for item in content if item.get("type") == "content")
    found = (
        one.get("text") for one in inner if isinstance(one, dict) and one.get("type") == "text"
    )
    return [text_of(text) for text in found]


def join(texts: list[Text]) -> Text:
    """Join texts with newlines, of large ones the previews; a single text stays whole."""
    return texts[0] if len(texts) == 1 else "\n".join(map(preview_of, texts))
