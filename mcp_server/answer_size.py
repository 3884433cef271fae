"""How much of a list fits into one answer."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic_core import to_json

MAX_BYTES = 960 * 1024
"""
The most bytes of an answer.

The SDK's own clients give up on an answer above 1 MiB (`max_sse_event_size`), and a talkative agent
must not flood its reader.
"""

_T = TypeVar("_T")


def sent_bytes(part: Any) -> int:
    """
    Say how many bytes a part of an answer takes: an item of its list, or its text.

    A tool's answer holds everything twice: as structured content, and as a text, which is JSON with
    line breaks, within a JSON string. There each quote and each line break takes more than itself.
    """
    text = to_json([[part]], indent=2).decode()
    return len(to_json(part)) + len(to_json(text))


def within(items: Sequence[_T], most: int = MAX_BYTES) -> list[_T]:
    """Return the first of ``items`` that fit into an answer; one in any case."""
    size, fitting = 0, list[_T]()
    for item in items:
        size += sent_bytes(item)
        if fitting and size > most:
            break
        fitting.append(item)
    return fitting
