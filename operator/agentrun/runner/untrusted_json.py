"""
Parsing of untrusted JSON.

Invalid Unicode, numbers that are not JSON and excessive depth do not pass: every returned value can
be encoded again, and stored by a database that does not support NUL.
"""

import json
import math
import re
from typing import Any

from agentrun.api.bounded_json import FIELD_DEPTH

MAX_DEPTH = FIELD_DEPTH
"""The maximum depth of a message that is parsed as a whole."""
_MAX_DIGITS = 300
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_ODD = re.compile(r"\\u(?:0000|[dD][89a-fA-F])|[\x00\ud800-\udfff]")
_SURROGATE = re.compile(r"[\x00\ud800-\udfff]")


def read_json(raw: bytes | bytearray) -> Any:
    """
    Parse a JSON value. Raises ValueError if the bytes are not JSON.

    Invalid UTF-8, halves of surrogate pairs and NUL become U+FFFD; unescaped control characters are
    accepted in strings.
    """
    text = raw.decode("utf-8", "replace")
    value = _DECODER.decode(text)
    return _scrub(value) if _ODD.search(text) else value


def scrub(text: str) -> str:
    """Return ``text`` with U+FFFD in place of NUL and lone surrogates, which cannot be stored."""
    return _SURROGATE.sub("\ufffd", text)


def is_deep(raw: bytes) -> bool:
    """Whether JSON is too deep to be parsed as a whole."""
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


# JSON has no NaN, no infinity and no limits for numbers; readers of the events have limits.
_DECODER = json.JSONDecoder(strict=False, parse_constant=str, parse_float=_float, parse_int=_int)
