"""Limits the size of tool results."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic_core import to_json

PAGE_BYTES = 32 * 1024
"""
The maximum size in bytes of a page of events, messages, runs or agents, as a client shows it.

Clients show their model only results up to a limit: Claude Code 2.1 writes one above 50,000
characters to a file instead, and Codex 0.169 cuts out the middle of one above 48,000 characters, or
above 12,000 if it does not know the model.
"""

MAX_BYTES = 960 * 1024
"""
The maximum size of a result in bytes.

The SDK's own clients reject a response above 1 MiB (`max_sse_event_size`).
"""

_T = TypeVar("_T")


def shown_bytes(item: Any) -> int:
    """Return how many bytes an item of a page takes in the text of the result: indented JSON."""
    return len(to_json([[item]], indent=2))


def sent_bytes(part: Any) -> int:
    """
    Return how many bytes a part of a result takes: an item of its list, or its text.

    A tool's result contains everything twice: as structured content, and as text, which is indented
    JSON in a JSON string. In the string, quotes and line breaks are escaped.
    """
    text = to_json([[part]], indent=2).decode()
    return len(to_json(part)) + len(to_json(text))


def within(items: Sequence[_T], most: int = PAGE_BYTES) -> list[_T]:
    """Return the first of ``items`` that fit into ``most`` bytes; at least one, if any."""
    size, fitting = 0, list[_T]()
    for item in items:
        size += shown_bytes(item)
        if fitting and size > most:
            break
        fitting.append(item)
    return fitting
