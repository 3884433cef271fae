"""
Parsing of untrusted JSON, within limits.

All external JSON is parsed here, or checked here after parsing: its depth, its number of values,
and whether it contains what cannot be stored (NUL, unpaired surrogates, numbers beyond the range
of a double). There are two modes. For requests, ``read`` and ``check`` refuse a value, with a
message that names the place and the limit. For data that the cluster or the store already holds,
``read_kept`` parses everything around a value beyond the limits, and ``mended`` leaves out only
that value and states why.

Input may be 64 levels deep; stored data, 96: an accepted value is nested some levels deeper in the
object, the row or the response that contains it, and must be readable there as well. Both are far
below what Python's parsers support (200 in pydantic's, about 900 in the standard one).
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Bounds:
    """The limits of one document."""

    depth: int
    """How deep objects and lists may be nested."""
    values: int
    """How many values it may have, over all levels."""
    any_text: bool = False
    """Whether its strings may contain NUL and unpaired surrogates, as escapes."""
    is_exact: bool = False
    """Whether its whole numbers must be exact in double precision, which most readers have."""


ASKED = Bounds(depth=64, values=10_000)
"""For the arguments of a tool call: copying, checking and writing them blocks other calls."""
HANDED_IN = Bounds(depth=64, values=100_000)
"""For input: a request, a message of an agent, an answer."""
KEPT = Bounds(depth=96, values=200_000)
"""For existing data: an object of the cluster, a row of the store."""
STORED = Bounds(depth=96, values=200_000, any_text=True)
"""For data in a store: its strings are escaped, so that they are read back unchanged."""
SENT = Bounds(depth=58, values=90_000)
"""For the data of a run that a runner sends, nested some levels deeper in a request."""
FIELD_DEPTH = 48
"""For one field of what a runner sends, nested in an event, nested in a batch."""
ANSWER = Bounds(depth=FIELD_DEPTH, values=80_000, is_exact=True)
"""For a structured answer: the same value in an event, in a run's status, and in JavaScript."""

CUT = "[left out: nested too deep]"
"""The replacement that ``mended`` inserts for a value that is too deep."""

# Where the text is cut: beyond the depth of ``KEPT``, with the list or event around the object.
_CUT_DEPTH = 128
_LEVELS_ABOVE = 2
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_DECODER = json.JSONDecoder()
_REPLACED = re.compile("[\0\ud800-\udfff]")
_DOUBLE_BITS = 1023
_PATH_CHARS = 120


class UnreadableJsonError(ValueError):
    """A text is not JSON, or a value exceeds its limits. The message names the place and limit."""


def read(text: bytes | str, what: str, bounds: Bounds = HANDED_IN) -> Any:
    """
    Parse JSON input. Raises UnreadableJsonError, whose message calls it ``what``.

    Of a key that is repeated in an object, the last value counts, as in JavaScript; -0.0 is 0.0.
    """
    try:
        value = json.loads(text, parse_float=_float)
    except RecursionError:
        raise UnreadableJsonError(_too_deep(what, bounds)) from None
    except ValueError as error:
        raise UnreadableJsonError(f"{what} is not valid JSON: {error}.") from error
    check(value, what, bounds)
    return value


def _float(digits: str) -> float:
    # The sum with -0.0 is 0.0.
    return float(digits) + 0.0


def check(value: Any, what: str, bounds: Bounds = HANDED_IN) -> None:
    """Raise UnreadableJsonError, which calls the value ``what``, if it exceeds ``bounds``."""
    if why := fault_of(value, what, bounds):
        raise UnreadableJsonError(why)


def read_kept(text: bytes | str) -> Any:
    """
    Parse existing JSON, however deep. Raises ValueError if it is not JSON.

    One value that is too deep for any parser does not prevent the other items of a list from being
    read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        whole = text.decode() if isinstance(text, bytes) else text
        pieces = _Piecewise(whole)
        return pieces.value(len(whole) - len(whole.lstrip()), _LEVELS_ABOVE)[0]


def mended(value: Any, what: str, bounds: Bounds = KEPT) -> tuple[Any, str]:
    """
    Return the part of ``value`` that is within the limits, and why it is not all of it.

    A value within the limits is returned unchanged, with an empty reason.
    """
    why = fault_of(value, what, bounds)
    if not why:
        return value, ""
    value = _rebuilt(value, bounds.depth, _as_it_is if bounds.any_text else _clean)
    return (_thinned(value, bounds.values) if _size(value) > bounds.values else value), why


def fault_of(value: Any, what: str, bounds: Bounds = HANDED_IN) -> str:
    """Return how and where a value exceeds its limits; empty if it does not."""
    return "" if _is_sound(value, bounds) else _explained(value, what, bounds)


def _is_sound(value: Any, bounds: Bounds) -> bool:
    """Whether a value is within the limits; iterates by level, so needs no recursion."""
    level, size = [value], 1
    for depth in count(1):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, (dict, list, tuple, BaseModel)):
                if depth > bounds.depth:
                    return False
                inner.extend(_inside(one))
            elif not _is_sound_scalar(one, bounds):
                return False
        size += len(inner)
        if size > bounds.values or not inner:
            return size <= bounds.values
        level = inner
    raise AssertionError("count never ends")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        # All keys are checked as one string, which is only yielded if invalid: keys are no values.
        names = "".join(map(str, value))
        return value.values() if _is_sound_text(names) else [*value.values(), names]
    return vars(value).values() if isinstance(value, BaseModel) else value


def _is_sound_scalar(value: Any, bounds: Bounds) -> bool:
    if isinstance(value, str):
        return bounds.any_text or _is_sound_text(value)
    return not _number_fault(value, bounds)


def _number_fault(value: Any, bounds: Bounds) -> str:
    if not _is_sound_number(value):
        return "a number that JSON cannot represent."
    if bounds.is_exact and isinstance(value, int) and int(float(value)) != value:
        return (
            f"a whole number that many JSON parsers round, to {float(value):.0f}: write it as a"
            " string if its digits matter."
        )
    return ""


def _is_sound_text(text: str) -> bool:
    return "\0" not in text if text.isascii() else _REPLACED.search(text) is None


def _is_sound_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or value.bit_length() <= _DOUBLE_BITS


def _explained(value: Any, what: str, bounds: Bounds) -> str:
    for path, one, depth in _walk(value):
        where = f"{what}: {path}" if path else what
        if isinstance(one, (dict, list, tuple, BaseModel)) and depth > bounds.depth:
            return _too_deep(where, bounds)
        if isinstance(one, str) and not _is_sound_scalar(one, bounds):
            kind = "a NUL character" if "\0" in one else "an unpaired surrogate"
            return f"{where} contains {kind}, which cannot be stored."
        if fault := _number_fault(one, bounds):
            return f"{where} is {fault}"
    return f"{what} has more than {bounds.values} values."


def _too_deep(where: str, bounds: Bounds) -> str:
    return f"{where} is nested deeper than {bounds.depth} levels."


def _walk(value: Any) -> Iterator[tuple[str, Any, int]]:
    """Yield every value with its path, and the depth that it has as an object or a list."""
    waiting: list[tuple[str, Any, int]] = [("", value, 1)]
    while waiting:
        path, one, depth = waiting.pop()
        yield path, one, depth
        if isinstance(one, dict):
            for key, inner in one.items():
                place = _below(path, _clean(str(key)))
                waiting += [(place, inner, depth + 1), (place, str(key), depth + 1)]
        elif isinstance(one, BaseModel):
            waiting += [(_below(path, key), inner, depth + 1) for key, inner in vars(one).items()]
        elif isinstance(one, (list, tuple)):
            waiting += [(_below(path, str(at)), two, depth + 1) for at, two in enumerate(one)]


def _below(path: str, name: str) -> str:
    """Return the path of ``name`` below ``path``, cut off if it is too long."""
    if path.endswith("…"):
        return path
    place = f"{path}.{name}" if path else name
    return place if len(place) <= _PATH_CHARS else f"{place[:_PATH_CHARS]}…"


def _rebuilt(value: Any, left: int, clean: Callable[[str], str]) -> Any:
    if isinstance(value, (dict, list, tuple)) and not left:
        return CUT
    if isinstance(value, dict):
        pairs = value.items()
        return {clean(str(key)): _rebuilt(inner, left - 1, clean) for key, inner in pairs}
    if isinstance(value, (list, tuple)):
        return [_rebuilt(inner, left - 1, clean) for inner in value]
    if isinstance(value, str):
        return clean(value)
    return value if _is_sound_number(value) else None


def _as_it_is(text: str) -> str:
    return text


def _clean(text: str) -> str:
    return text if _is_sound_text(text) else _REPLACED.sub("\ufffd", text)


def _size(value: Any) -> int:
    return sum(1 for _ in _walk(value))


def _thinned(value: Any, most: int, left: int = 2) -> Any:
    """Empty the largest parts of an object, two levels down, such as ``spec.metadata``."""
    if isinstance(value, dict) and left:
        return {key: _thinned(inner, most // 8, left - 1) for key, inner in value.items()}
    if isinstance(value, (dict, list)) and _size(value) > most:
        return type(value)()
    return value


@dataclass
class _Piecewise:
    """
    Parses a text that is too deep for the parser, in pieces.

    The parser gets one piece after the other, down to the items of a list: only the piece that is
    too deep is parsed more slowly.
    """

    text: str

    def value(self, at: int, levels: int) -> tuple[Any, int]:
        """Parse the value at ``at``, and return it with the position of its end."""
        try:
            return _DECODER.raw_decode(self.text, at)
        except RecursionError:
            if not levels:
                end = self._end(at)
                return json.loads(_shallow(self.text[at:end])), end
            return self._object(at, levels) if self.text[at] == "{" else self._list(at, levels)

    def _object(self, at: int, levels: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = self._skip(at + 1)
        while self._not(at, "}"):
            name, at = _DECODER.raw_decode(self.text, at)
            found[name], at = self.value(self._skip(at, ":"), levels - 1)
            at = self._skip(at, ",")
        return found, at + 1

    def _list(self, at: int, levels: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        at = self._skip(at + 1)
        while self._not(at, "]"):
            one, at = self.value(at, levels - 1)
            found.append(one)
            at = self._skip(at, ",")
        return found, at + 1

    def _skip(self, at: int, sign: str = "") -> int:
        while at < len(self.text) and (self.text[at].isspace() or self.text[at] == sign):
            at += 1
        return at

    def _not(self, at: int, sign: str) -> bool:
        if at >= len(self.text):
            raise ValueError("the JSON is truncated")
        return self.text[at] != sign

    def _end(self, at: int) -> int:
        depth = 0
        for token in _TOKENS.finditer(self.text, at):
            depth += (token[0] in "[{") - (token[0] in "]}")
            if not depth:
                return token.end()
        raise ValueError("the JSON is truncated")


def _shallow(text: str) -> str:
    """Replace everything deeper than any limit with ``null``, in one pass over the text."""
    pieces, depth, kept_from = list[str](), 0, 0
    for token in _TOKENS.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == _CUT_DEPTH + 1:
                pieces += [text[kept_from : token.start()], "null"]
        elif token[0] in "]}":
            if depth == _CUT_DEPTH + 1:
                kept_from = token.end()
            depth -= 1
    return "".join([*pieces, text[kept_from:]])
