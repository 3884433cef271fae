"""The output of a tool's terminal: streamed in pieces, and retained up to a limit until its end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentrun.runner.journal.large_text import LargeText, Text, preview_of, text_of

FLUSH_CHARACTERS = 4096
"""Buffered output is emitted from this many characters on."""
KEPT = 32 * 1024
"""The number of characters retained of the beginning, and of the end."""


@dataclass
class Output:
    """The output of one tool call."""

    clean: Callable[[str], str]
    safe_length: Callable[[str], int]
    waiting: str = ""
    """Output not emitted yet. Not redacted, since a secret may continue in the next piece."""
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

    def take(self, safe_length: Callable[[str], int] | None = None) -> str:
        """Return the buffered output, redacted, as far as it can be emitted."""
        length = (safe_length or self.safe_length)(self.waiting)
        text, self.waiting = self.clean(self.waiting[:length]), self.waiting[length:]
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
        room = 0 if self._last or self._left_out else KEPT - len(self._first)
        self._first += text[:room]
        last = self._last + text[room:]
        self._last = last[-KEPT:]
        self._left_out += max(0, len(last) - KEPT)
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
