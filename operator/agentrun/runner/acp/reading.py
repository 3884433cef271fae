"""
Reading JSON that a stranger wrote.

What is no Unicode, no JSON number or too deep for its reader does not get further than this:
everything that is returned can be encoded again, and stored by a database that knows no NUL.
"""

import json
import math
import re
from typing import Any

from agentrun.api.bounded_json import FIELD_DEPTH

MAX_DEPTH = FIELD_DEPTH
"""How deep a message may be to be read as a whole."""
_MAX_DIGITS = 300
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_ODD = re.compile(r"\\u(?:0000|[dD][89a-fA-F])|[\x00\ud800-\udfff]")
_SURROGATE = re.compile(r"[\x00\ud800-\udfff]")


def read_json(raw: bytes | bytearray) -> Any:
    """
    Read a JSON value; ValueError if it is none.

    Bytes that are no UTF-8, halves of surrogate pairs and NUL become U+FFFD; control characters
    may stand in strings as they are.
    """
    text = raw.decode("utf-8", "replace")
    value = _DECODER.decode(text)
    return _scrub(value) if _ODD.search(text) else value


def scrub(text: str) -> str:
    """Return ``text`` with U+FFFD for what no UTF-8 or no database can hold."""
    return _SURROGATE.sub("\ufffd", text)


def is_deep(raw: bytes) -> bool:
    """Whether JSON is too deep to be read as a whole."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for match in _TOKEN.finditer(raw):
        first = match[0][:1]
        depth += (first in b"[{") - (first in b"]}")
        if depth > MAX_DEPTH:
            return True
    return False


def _scrub(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {scrub(key): _scrub(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrub(item) for item in value]
    return value


def _float(digits: str) -> float | str:
    value = float(digits)
    return value if math.isfinite(value) else digits


def _int(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MAX_DIGITS else digits


# JSON has no NaN, no infinity and no bounds; what reads the events has.
_DECODER = json.JSONDecoder(strict=False, parse_constant=str, parse_float=_float, parse_int=_int)
