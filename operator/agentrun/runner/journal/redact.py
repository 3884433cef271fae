"""
Removes the values of Secrets from an agent's accidental output.

This is no security boundary: an agent that intends to disclose a value can encode it differently.

A value is searched for in plain form, in base64 at each of the three alignments, URL-encoded,
escaped as in a JSON string, and with its UTF-8 decoded as Latin-1, for files of any bytes. Text
arrives in pieces: ``safe_length`` returns where a piece can be cut without splitting a value.

What may be the beginning of a value waits for the next piece, but not for long: after a short
pause, before a question and at the end of a turn it is published. If the value then goes on,
``continuation`` removes the rest of it, so that of a value only a part is ever shown, and only if
the agent paused within it.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"
_SHORTEST = 6
# Each line of a key is secret by itself: tools print parts of keys.
_SHORTEST_LINE = 20
_PROBE = 4


class Redactor:
    """Replaces known values with ``REDACTED``."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self._forms: tuple[str, ...] = ()
        self.add(*values)

    def add(self, *values: str) -> None:
        """Add values. Values under six characters are ignored: they occur in any text."""
        new = set(values) - self._values
        if not new:
            return
        self._values |= new
        forms = {form for value in new for form in _forms(value)} | {*self._forms}
        self._forms = tuple(sorted(forms, key=len, reverse=True))

    def text(self, text: str) -> str:
        """Return ``text`` without the values."""
        # Searching for each form takes a fraction of the time of one pattern of all forms.
        found = tuple(form for form in self._forms if form in text)
        return _pattern(found).sub(REDACTED, text) if found else text

    def data(self, value: Any) -> Any:
        """
        Return a copy of a JSON value without the values, in keys as well.

        Large texts stay as they are: their files contain no secrets.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.data(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.data(item) for item in value]
        return value

    def safe_length(self, text: str) -> int:
        """
        Return how many characters of ``text`` can be redacted by themselves now.

        The rest may be the beginning of a value, or is a value that overlaps with such a beginning.
        """
        end = min((_beginning(text, form) for form in self._forms), default=len(text))
        if end == len(text):
            return end
        found = tuple(form for form in self._forms if form in text)
        for match in _pattern(found).finditer(text) if found else ():
            if match.start() < end < match.end():
                return match.start()
        return end

    def continuation(self, shown: str, text: str) -> str:
        """
        Return ``text`` without the rest of a value that began at the end of ``shown``.

        ``shown`` was published because the text seemed to have ended. ``text`` is replaced as well
        if it continues a value without completing it, from half of the value on: less may be an
        ordinary word. Values that are in ``text`` as a whole stay.
        """
        if not shown:
            return text
        whole, border = shown + text, len(shown)
        for form in self._forms:
            at = whole.find(form, max(0, border - len(form) + 1), border + len(form) - 1)
            if 0 <= at < border:
                return REDACTED + whole[at + len(form) :]
            at = _beginning(whole, form)
            if at < border and 2 * (len(whole) - at) >= len(form):
                return REDACTED
        return text

    def stream(self, pieces: Iterable[str]) -> Iterator[str]:
        """Yield a text of several pieces without the values, also those split between pieces."""
        kept = ""
        for piece in pieces:
            text = kept + piece
            length = self.safe_length(text)
            yield self.text(text[:length])
            kept = text[length:]
        yield self.text(kept)


@lru_cache(maxsize=64)
def _pattern(forms: tuple[str, ...]) -> re.Pattern[str]:
    """Compile a pattern of forms, which are sorted longest first."""
    return re.compile("|".join(re.escape(form) for form in forms))


def _beginning(text: str, form: str) -> int:
    """Return where ``text`` ends with a beginning of ``form``, but not the whole of it."""
    tail = max(0, len(text) - len(form) + 1)
    at = text.find(form[:_PROBE], tail)
    while at >= 0:
        if form.startswith(text[at:]):
            return at
        at = text.find(form[:_PROBE], at + 1)
    for at in range(max(tail, len(text) - _PROBE + 1), len(text)):
        if form.startswith(text[at:]):
            return at
    return len(text)


def _forms(value: str) -> set[str]:
    value = value.strip()
    if len(value) < _SHORTEST:
        return set()
    lines = value.splitlines()
    parts = {line.strip() for line in lines if len(lines) > 1 and len(line) >= _SHORTEST_LINE}
    forms: set[str] = set()
    for part in {value, *parts}:
        forms |= {part, quote(part, safe=""), quote_plus(part), json.dumps(part)[1:-1]}
        forms |= {json.dumps(part, ensure_ascii=False)[1:-1], *_base64_forms(part.encode())}
    forms |= {form.encode(errors="replace").decode("latin-1") for form in forms}
    return {form for form in forms if len(form) >= _SHORTEST}


def _base64_forms(raw: bytes) -> set[str]:
    """Encode at each alignment, without the characters that depend on adjacent bytes."""
    forms = set()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        whole = (len(raw) + offset) * 8 // 6
        plain = encoded[(offset * 8 + 5) // 6 : whole]
        forms |= {plain, plain.translate(str.maketrans("+/", "-_"))}
    return {form for form in forms if len(form) >= _SHORTEST + 2}
