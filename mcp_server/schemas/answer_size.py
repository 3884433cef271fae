"""Limits the size of tool results."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic_core import to_json

MAX_BYTES = 960 * 1024
"""
The maximum size of a result in bytes.

The SDK's own clients reject a response above 1 MiB (`max_sse_event_size`), and the output of a
verbose agent must not flood its reader.
"""

_T = TypeVar("_T")


def sent_bytes(part: Any) -> int:
    """
    Return how many bytes a part of a result takes: an item of its list, or its text.

    A tool's result contains everything twice: as structured content, and as text, which is indented
    JSON in a JSON string. In the string, quotes and line breaks are escaped.
    """
    text = to_json([[part]], indent=2).decode()
    return len(to_json(part)) + len(to_json(text))


def within(items: Sequence[_T], most: int = MAX_BYTES) -> list[_T]:
    """Return the first of ``items`` that fit into ``most`` bytes; at least one, if any."""
    size, fitting = 0, list[_T]()
    for item in items:
        size += sent_bytes(item)
        if fitting and size > most:
            break
        fitting.append(item)
    return fitting
