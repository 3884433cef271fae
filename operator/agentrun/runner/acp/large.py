"""
Incremental parsing of ACP messages that are too large to hold in memory.

Long strings, and structures that are too large or too deep, are cut out and stored in files. The
rest is small and parsed as usual; each cut value is represented by a LargeText. Streaming JSON
libraries do not fit: they still return each string as a whole.
"""

import asyncio
import codecs
import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from agentrun.runner.journal.large_text import LargeText
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.untrusted_json import MAX_DEPTH, read_json, scrub

LONG_STRING = 32 * 1024
"""A longer string of a large message, in bytes of its JSON form, is stored in a file."""
MAX_STRUCTURE = 256 * 1024
"""A larger object or array is stored in a file: the limit in bytes ..."""
MAX_VALUES = 20_000
"""... and in values."""
MAX_REST = 1024 * 1024
"""The maximum size of a message in bytes without the values that were cut out."""

_PREVIEW = 32_000
_CHUNK = 64 * 1024
# The depth at which a structure is cut out: {"params": {"update": {FIELD: here ...
_FIELDS = 3
_LONGEST_ESCAPE = 12
_INSIDE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
# Matches up to an escape, or half of a surrogate pair, that may continue in the next piece.
_COMPLETE = re.compile(
    r"(?:[^\\]++"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\u[0-9a-fA-F]{4}|(?=[^\\])|(?=\\[^u]))"
    r"|\\u(?![dD][89abAB])[0-9a-fA-F]{4}"
    r"|\\[^u])*+",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u00([2-7][0-9a-fA-F])|.)", re.DOTALL)


class TooMuchStructureError(Exception):
    """A message is too large even without its long strings and its large fields."""


@dataclass(frozen=True)
class Span:
    """The position of a value that was cut out: the inside of a string, or a structure."""

    start: int
    end: int
    is_string: bool


@dataclass
class Parts:
    """Incremental parser of one message; ``feed`` takes its bytes."""

    spans: list[Span] = field(default_factory=list)
    rest: bytearray = field(default_factory=bytearray)
    """The message, with a placeholder for each span."""
    mark: str = field(default_factory=lambda: secrets.token_hex(16))
    """Random, so that an agent cannot write placeholders itself."""
    _offset: int = 0
    _depth: int = 0
    _string: "_Place | None" = None
    _is_escaped: bool = False
    _field: "_Place | None" = None
    _values: int = 0
    _deepest: int = 0

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes. Raises TooMuchStructureError if the rest becomes too large."""
        at = 0
        while at < len(chunk):
            at = self._in_string(chunk, at) if self._string else self._between(chunk, at)
        self._offset += len(chunk)
        if len(self.rest) > MAX_REST + MAX_STRUCTURE:
            raise TooMuchStructureError

    def _in_string(self, chunk: bytes, at: int) -> int:
        """Consume a string up to its end or the end of the chunk; return that position."""
        begin = at
        if self._is_escaped:
            self._is_escaped = False
            at += 1
        at = _match_end(_INSIDE, chunk, at)
        is_end = chunk[at : at + 1] == b'"'
        if not is_end and at < len(chunk):
            self._is_escaped = True
            at += 1
        self._keep(chunk, begin, at)
        string = self._string
        if string and self._offset + at - string.start > LONG_STRING:
            self._cut(string)
        if is_end:
            self._end_string(at)
            self._keep(chunk, at, at + 1)
            return at + 1
        return at

    def _end_string(self, at: int) -> None:
        string, self._string = self._string, None
        if string and string.is_cut and not (self._field and self._field.is_cut):
            self._mark(Span(string.start, self._offset + at, True), b"%s")

    def _between(self, chunk: bytes, at: int) -> int:
        """Consume what is between two strings, and the quote after it."""
        end = chunk.find(b'"', at)
        end = len(chunk) if end < 0 else end
        self._values += chunk.count(b",", at, end)
        kept = at
        if not self._count_inside(chunk, at, end):
            for match in _BRACKET.finditer(chunk, at, end):
                kept = self._bracket(chunk, kept, match.start())
        self._keep(chunk, kept, min(end + 1, len(chunk)))
        if end < len(chunk):
            self._string = _Place(self._offset + end + 1, len(self.rest), len(self.spans))
        return end + 1

    def _count_inside(self, chunk: bytes, at: int, end: int) -> bool:
        """
        Count brackets in bulk, if they do not leave the field; return whether they were counted.
        """
        if self._field is None:
            return False
        closing = chunk.count(b"]", at, end) + chunk.count(b"}", at, end)
        if self._depth - closing <= _FIELDS:
            return False
        opening = chunk.count(b"[", at, end) + chunk.count(b"{", at, end)
        self._values += opening
        self._deepest = max(self._deepest, self._depth + opening)
        self._depth += opening - closing
        return True

    def _bracket(self, chunk: bytes, kept: int, at: int) -> int:
        """Handle a bracket; return the position from which the chunk is still to be stored."""
        if chunk[at] in b"[{":
            self._depth += 1
            self._values += 1
            self._deepest = max(self._deepest, self._depth)
            if self._depth == _FIELDS + 1:
                self._keep(chunk, kept, at)
                self._field = _Place(self._offset + at, len(self.rest), len(self.spans))
                self._values, self._deepest = 1, self._depth
                return at
            return kept
        self._depth -= 1
        if self._depth == _FIELDS and self._field:
            self._keep(chunk, kept, at + 1)
            cut, self._field = self._field, None
            if cut.is_cut:
                self._mark(Span(cut.start, self._offset + at + 1, False), b'"%s"')
            return at + 1
        return kept

    def _keep(self, chunk: bytes, at: int, end: int) -> None:
        if any(place and place.is_cut for place in (self._field, self._string)):
            return
        self.rest += chunk[at:end]
        if self._field and self._is_large(self._field):
            del self.spans[self._field.spans :]
            self._cut(self._field)

    def _is_large(self, place: "_Place") -> bool:
        is_large = len(self.rest) - place.rest > MAX_STRUCTURE + LONG_STRING
        return is_large or self._values > MAX_VALUES or self._deepest > MAX_DEPTH

    def _cut(self, place: "_Place") -> None:
        place.is_cut = True
        del self.rest[place.rest :]

    def _mark(self, span: Span, form: bytes) -> None:
        self.rest += form % f"{self.mark}:{len(self.spans)}".encode()
        self.spans.append(span)


@dataclass
class _Place:
    """
    The start of a string or a field: its offsets in the message, in the rest and in the spans.
    """

    start: int
    rest: int
    spans: int
    is_cut: bool = False


def _match_end(pattern: re.Pattern[bytes], chunk: bytes, at: int) -> int:
    match = pattern.match(chunk, at)
    return match.end() if match else at


async def read_large(
    file: BinaryIO, redactor: Redactor, new_file: Callable[[], Path]
) -> tuple[Any, list[Path]]:
    """
    Parse a message; return it with the files that hold its large parts, redacted.

    Raises ValueError if it is not JSON, TooMuchStructureError if it cannot be split. Yields to the
    event loop between chunks.
    """
    parts, files = Parts(), list[Path]()
    try:
        while chunk := file.read(_CHUNK):
            parts.feed(chunk)
            await asyncio.sleep(0)
        message = read_json(parts.rest)
        texts: dict[str, LargeText] = {}
        for number, span in enumerate(parts.spans):
            files.append(new_file())
            text = await _store(redactor.stream(pieces_of(file, span)), files[-1], span)
            texts[f"{parts.mark}:{number}"] = text
        return _fill(message, texts), files
    except BaseException:
        remove(files)
        raise


def remove(files: list[Path]) -> None:
    """Remove files; missing ones are ignored."""
    for path in files:
        with suppress(FileNotFoundError):
            path.unlink()


def pieces_of(file: BinaryIO, span: Span) -> Iterator[str]:
    """Yield a span as text: a string decoded, a structure as JSON."""
    meaning = _text_of if span.is_string else _plainly
    kept, bytes_left = "", span.end - span.start
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    file.seek(span.start)
    while bytes_left:
        chunk = file.read(min(_CHUNK, bytes_left))
        bytes_left -= len(chunk)
        kept += decoder.decode(chunk, final=not bytes_left)
        match = _COMPLETE.match(kept)
        end = match.end() if match and bytes_left else len(kept)
        if len(kept) - end > _LONGEST_ESCAPE:
            raise ValueError(
                f"an escape sequence that JSON does not define: {kept[end : end + 6]!r}"
            )
        yield scrub(meaning(kept[:end]))
        kept = kept[end:]


def _text_of(inside: str) -> str:
    text: str = json.loads(f'"{inside}"', strict=False)
    return text


def _plainly(text: str) -> str:
    """Unescape characters that need no escape, so that the redactor finds secrets."""
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(match: re.Match[str]) -> str:
    escape = match[0]
    character = chr(int(match[1], 16)) if match[1] else escape[1:]
    is_needed = character in '"\\' or not (match[1] or character == "/")
    return escape if is_needed else character


async def _store(pieces: Iterator[str], path: Path, span: Span) -> LargeText:
    preview, size, length = "", 0, 0
    with path.open("wb") as file:
        for piece in pieces:
            preview += piece[: _PREVIEW - len(preview)]
            size += file.write(piece.encode("utf-8", "replace"))
            length += len(piece)
            await asyncio.sleep(0)
    kind = "text/plain" if span.is_string else "application/json"
    return LargeText(preview, path, size, length, kind)


def _fill(value: Any, texts: dict[str, LargeText]) -> Any:
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, dict):
        return {_name(key, texts): _fill(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, texts) for item in value]
    return value


def _name(key: str, texts: dict[str, LargeText]) -> str:
    return texts[key].preview if key in texts else key
