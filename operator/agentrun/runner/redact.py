"""
Keeping the values of Secrets out of everything that leaves the pod.

A value is looked for as it is, in base64 at each of the three alignments, URL-encoded, as it
reads inside a JSON string, and as its UTF-8 reads in Latin-1, for files of any bytes. Text arrives
in pieces: ``safe_length`` says how much of a piece can go without cutting a value that is just
beginning.
"""

import base64
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"
_SHORTEST = 6
# The lines of a key are secret one by one: tools print parts of it.
_SHORTEST_LINE = 20


class Redactor:
    """Replaces the values it was told of."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._prefixes: set[str] = set()
        self.add(*values)

    def add(self, *values: str) -> None:
        """Learn further values. Values under six characters are ignored: they are in any text."""
        new = set(values) - self._values
        if not new:
            return
        self._values |= new
        forms = {form for value in new for form in _forms(value)} - self._forms
        if not forms:
            return
        self._forms |= forms
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(form) for form in longest_first))
        self._prefixes = {form[0] for form in self._forms}

    def text(self, text: str) -> str:
        """Return ``text`` without the values."""
        return self._pattern.sub(REDACTED, text) if self._pattern else text

    def data(self, value: Any) -> Any:
        """Return a copy of a JSON value without the values, in keys as well."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.data(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.data(item) for item in value]
        return value

    def safe_length(self, text: str) -> int:
        """Return how much of ``text`` can go now: its end may be the beginning of a value."""
        if not self._forms:
            return len(text)
        longest = max(len(form) for form in self._forms)
        for start in range(max(0, len(text) - longest + 1), len(text)):
            if text[start] not in self._prefixes:
                continue
            tail = text[start:]
            if any(len(tail) < len(form) and form.startswith(tail) for form in self._forms):
                return start
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
    """Encode at each alignment, without the characters that depend on the neighbours."""
    forms = set()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        whole = (len(raw) + offset) * 8 // 6
        plain = encoded[(offset * 8 + 5) // 6 : whole]
        forms |= {plain, plain.translate(str.maketrans("+/", "-_"))}
    return {form for form in forms if len(form) >= _SHORTEST + 2}
