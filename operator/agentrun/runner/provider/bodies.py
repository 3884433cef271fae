"""
Extraction of the models and stored objects that a provider request's body names. Pure.

The body is tokenized in place, so that it takes no memory, whatever an agent sends. Every key that
a server may interpret counts, since servers differ on repeated keys and on the spelling of keys.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap

MAX_DEPTH = 200
MAX_TOKENS = 4_000_000

_TOKEN = re.compile(
    rb'[ \t\r\n]*+(?:("(?:[^"\\\x00-\x1f]++|\\.)*+")|([\[\]{},:])'
    rb"|(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?|true|false|null))"
)
_SPACE = re.compile(rb"[ \t\r\n]*+")
_MOST_KEY = 128
_MOST_VALUE = 1024

# Below the top level, the values of these are a tool's input or output, or a schema: free-form data
# of the agent, in which any key may occur.
_FREE = frozenset({
    "input", "arguments", "args", "response", "parameters", "parametersjsonschema", "inputschema",
    "schema", "responseschema", "responsejsonschema", "output",
})  # fmt: skip
_MODEL = "model"
_MODELS = frozenset({"models", "fallbacks", "fallbackmodels"})
"""At the top level, for gateways to several providers: the fallback models."""
_STORED = frozenset({
    "previousresponseid", "fileid", "fileids", "vectorstoreids", "fileuri", "cachedcontent",
    "connectorid", "skillid", "filesearchstorenames",
})  # fmt: skip
_STORED_WHOLE = frozenset({"conversation", "container"})
"""A string value of these names a stored object; in an object value, its ``id`` does."""
_STORED_BY_ID = frozenset({"conversation", "container", "prompt", "audio"})
_REFERENCE = "item_reference"


class UnreadableBodyError(ValueError):
    """The body is not a JSON object, or exceeds a limit. The message says which."""


@dataclass(frozen=True)
class Named:
    """The models and stored objects that a body names."""

    models: frozenset[str]
    stored: str = ""
    """The first key that refers to an object in the provider's account; empty for none."""


@dataclass
class _Level:
    is_object: bool
    key: str
    """The key whose value this level is; a list's items have the list's key."""
    is_free: bool
    current: str = ""
    """In an object: the key of the next value."""


@dataclass
class _Reading:
    models: set[str] = field(default_factory=set)
    stored: str = ""
    levels: list[_Level] = field(default_factory=list)

    def value(self, text: str | None) -> None:
        """Record a value: a string, or None for another scalar that is not null."""
        level = self.levels[-1]
        if level.is_free:
            return
        key = level.current if level.is_object else level.key
        depth = len(self.levels)
        if key == _MODEL or (key in _MODELS and depth <= 2):
            self.models.add(text if text is not None else "")
        in_list = "" if level.is_object else level.key
        is_named = (
            key in _STORED
            or in_list in _STORED
            or (key in _STORED_WHOLE and text is not None)
            or (key == "id" and level.key in _STORED_BY_ID)
            or (key == "type" and text == _REFERENCE)
        )
        if is_named and text != "":
            self.stored = self.stored or (level.key if key == "id" else key)

    def open(self, is_object: bool) -> None:
        """Enter an object or a list."""
        if len(self.levels) >= MAX_DEPTH:
            raise UnreadableBodyError(f"it is more than {MAX_DEPTH} levels deep")
        if not self.levels:
            self.levels.append(_Level(is_object, "", False))
            return
        above = self.levels[-1]
        key = above.current if above.is_object else above.key
        if key == _MODEL and is_object and not above.is_free:
            self.models.add("")
        is_below = len(self.levels) > 1 and above.is_object
        is_free = above.is_free or (is_below and key in _FREE)
        self.levels.append(_Level(is_object, key, is_free))


def names_in(body: bytes | mmap) -> Named:
    """
    Return the names in a body. Raises UnreadableBodyError if it is not a JSON object in the limits.
    """
    reading = _Reading()
    tokens = _tokens(body)
    kind, _ = next(tokens, (b"", b""))
    if kind != b"{":
        raise UnreadableBodyError("it is not a JSON object")
    reading.open(True)
    state = "key or end"
    for kind, raw in tokens:
        if not reading.levels:
            raise UnreadableBodyError("something follows the JSON object")
        state = _step(reading, state, kind, raw)
    if reading.levels:
        raise UnreadableBodyError("the JSON object has no end")
    return Named(frozenset(reading.models), reading.stored)


def _step(reading: _Reading, state: str, kind: bytes, raw: bytes) -> str:
    level = reading.levels[-1]
    if kind in (b"}", b"]") and state in ("key or end", "value or end", "comma or end"):
        if level.is_object != (kind == b"}"):
            raise UnreadableBodyError("its brackets do not match")
        reading.levels.pop()
        return "comma or end"
    if state == "comma or end" and kind == b",":
        return "key" if level.is_object else "value"
    if state in ("key", "key or end") and kind == b'"':
        level.current = _folded(raw)
        return "colon"
    if state == "colon" and kind == b":":
        return "value"
    if state in ("value", "value or end") and kind in (b"{", b"[", b'"', b"0"):
        return _value(reading, kind, raw)
    raise UnreadableBodyError("it is not JSON")


def _value(reading: _Reading, kind: bytes, raw: bytes) -> str:
    if kind in (b"{", b"["):
        reading.open(kind == b"{")
        return "key or end" if kind == b"{" else "value or end"
    if kind == b'"':
        reading.value(_text(raw) if len(raw) <= _MOST_VALUE else raw[:64].decode("latin-1"))
    elif raw != b"null":
        reading.value(None)
    return "comma or end"


def _tokens(body: bytes | mmap) -> Iterator[tuple[bytes, bytes]]:
    """
    Yield each token's kind (a bracket or separator, ``"`` for a string, 0 for others) and text.
    """
    position, end = 0, len(body)
    for _ in range(MAX_TOKENS):
        found = _TOKEN.match(body, position)
        if found is None:
            rest = _SPACE.match(body, position)
            if rest is None or rest.end() != end:
                raise UnreadableBodyError("it is not JSON")
            return
        position = found.end()
        string, sign, other = found.groups()
        if string is not None:
            yield b'"', string
        elif sign is not None:
            yield sign, sign
        else:
            yield b"0", other
    raise UnreadableBodyError(f"it holds more than {MAX_TOKENS} JSON tokens")


def _folded(raw: bytes) -> str:
    """Normalize a key as a lenient server may: in lower case, without ``_`` and ``-``."""
    if len(raw) > _MOST_KEY:
        return ""
    return _text(raw).casefold().replace("_", "").replace("-", "")


def _text(raw: bytes) -> str:
    try:
        return str(json.loads(raw))
    except ValueError as error:
        raise UnreadableBodyError("it holds a string that is not JSON") from error
