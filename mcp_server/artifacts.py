"""
Reading what was too large for an event.

An event names the whole of a field in ``artifact_refs``; the bytes lie in the blob store. Offsets
are bytes, but no character is ever cut: a slice that would begin or end within one gives way.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentrun.api.events import Event
from agentrun.store.base import BlobStore
from mcp_server.answer_size import MAX_BYTES, sent_bytes

MAX_SLICE = 262_144
"""The most bytes that one slice has."""
_LONGEST_CHARACTER = 4


class NoArtifactError(LookupError):
    """The event has no such artifact; the message says which it has."""


@dataclass(frozen=True)
class Slice:
    """A part of an artifact: ``content`` is the bytes from ``offset`` to ``end``."""

    content: str
    encoding: str
    """``utf-8``, or ``base64`` where the artifact is no text."""
    offset: int
    end: int
    total: int


def reference(events: list[Event], seq: int, field_path: str) -> Mapping[str, Any]:
    """Find what an event says of the artifact of one of its fields."""
    refs = events[0].data.get("artifact_refs") if events and events[0].seq == seq else None
    if not isinstance(refs, dict) or not refs:
        raise NoArtifactError(f"No artifacts found for seq {seq}")
    found = refs.get(field_path)
    if not isinstance(found, dict):
        paths = ", ".join(sorted(refs))
        raise NoArtifactError(
            f"No artifact for field_path {field_path}. Available field paths: {paths}"
        )
    return found


async def read_slice(blobs: BlobStore, key: str, offset: int, limit: int) -> Slice:
    """
    Read up to ``limit`` bytes of a blob, whole characters of them. KeyError if it is absent.

    Of a text that takes more room in an answer than it has bytes, fewer are read.
    """
    total = await blobs.size(key)
    if total is None:
        raise KeyError(key)
    first, last = min(offset, total), min(offset + limit, total)
    start = max(0, first - (_LONGEST_CHARACTER - 1))
    wanted = min(last + _LONGEST_CHARACTER - 1, total) - start
    raw = b"".join([chunk async for chunk in blobs.read(key, start, wanted)])
    begin, end = _whole_characters(raw, first - start, last - start)
    try:
        # With the character that the offset cuts, to know that it is one.
        raw[_boundary_before(raw, first - start) : end].decode()
        content, encoding = raw[begin:end].decode(), "utf-8"
    except UnicodeDecodeError:
        begin, end = first - start, last - start
        content, encoding = base64.b64encode(raw[begin:end]).decode("ascii"), "base64"
    if (size := sent_bytes(content)) > MAX_BYTES:
        return await read_slice(blobs, key, offset, limit * MAX_BYTES // size)
    return Slice(content, encoding, start + begin, start + end, total)


def _whole_characters(raw: bytes, first: int, last: int) -> tuple[int, int]:
    begin, end = _boundary(raw, first), _boundary_before(raw, last)
    if end <= begin < len(raw):
        # A limit smaller than the character: whoever reads on must get on.
        end = _boundary(raw, begin + 1)
    return begin, max(begin, end)


def _is_continuation(byte: int) -> bool:
    return byte & 0b1100_0000 == 0b1000_0000


def _boundary(raw: bytes, at: int) -> int:
    """Return the first place from ``at`` on where a character begins."""
    while at < len(raw) and _is_continuation(raw[at]):
        at += 1
    return at


def _boundary_before(raw: bytes, at: int) -> int:
    """Return the last place up to ``at`` where a character begins; the end is one."""
    while 0 < at < len(raw) and _is_continuation(raw[at]):
        at -= 1
    return at
