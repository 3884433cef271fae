"""
The tool that reads artifacts: the full values of fields that are too large for an event.

An event refers to them in ``artifact_refs``; the bytes are in the blob store. Offsets are in bytes,
but a slice never splits a character: its bounds are moved to character boundaries.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from agentrun.api.events import Event
from agentrun.api.gateway import blob_key
from agentrun.store.base import BlobStore
from mcp_server.schemas.answer_size import MAX_BYTES, PAGE_BYTES, sent_bytes, shown_bytes
from mcp_server.schemas.runs import ArtifactResult
from mcp_server.tools.context import ToolContext, tool_errors
from mcp_server.tools.run_lookup import AgentName, Cwd, Namespace, RunId, resolve_at, run_id_of

MAX_SLICE = 262_144
"""The maximum size of a slice in bytes."""
_DEFAULT_SLICE = 65_536
_LONGEST_CHARACTER = 4


class NoArtifactError(LookupError):
    """The event has no such artifact. The message lists those it has."""


@dataclass(frozen=True)
class ArtifactSlice:
    """A part of an artifact: ``content`` holds the bytes from ``offset`` to ``end``."""

    content: str
    encoding: str
    """``utf-8``, or ``base64`` if the bytes are not UTF-8 text."""
    offset: int
    end: int
    total: int


def add_get_event_artifact(server: MCPServer, context: ToolContext) -> None:
    """Register get_event_artifact."""

    @server.tool(
        title="Read a large field in full",
        annotations=ToolAnnotations(
            read_only_hint=True, idempotent_hint=True, open_world_hint=False
        ),
    )
    async def get_event_artifact(
        seq: Annotated[int, Field(description="The event's seq.", ge=1)],
        field_path: Annotated[
            str,
            Field(description="A key of the event's data.artifact_refs: /output.", min_length=1),
        ],
        run_id: RunId = None,
        agent_name: AgentName = None,
        cwd: Cwd = None,
        offset: Annotated[int, Field(description="Where to start, in bytes.", ge=0)] = 0,
        limit: Annotated[
            int,
            Field(
                description="The maximum number of bytes. Above the default, slices are longer.",
                ge=1,
                le=MAX_SLICE,
            ),
        ] = _DEFAULT_SLICE,
        namespace: Namespace = None,
    ) -> ArtifactResult:
        """
        Return a field that an event only previews: long output, a patch, a large result.

        An event lists these fields in `data.artifact_refs`. Slices have up to 32 KiB. While
        `has_more` is true, call it again with `offset` set to `offset + returned_bytes` of the
        result.
        """
        with tool_errors():
            row = await resolve_at(context, seq, run_id, agent_name, cwd, namespace)
            uid = row.run.metadata.uid
            try:
                ref = reference(await context.store.read(uid, seq - 1, 1), seq, field_path)
            except NoArtifactError as error:
                raise ToolError(str(error)) from error
            relpath = str(ref["relpath"])
            try:
                part = await read_slice(context.blobs, blob_key(uid, relpath), offset, limit)
            except KeyError as error:
                raise ToolError(
                    f"The bytes of {field_path} of seq {seq} were not stored:"
                    " only the event's preview is available."
                ) from error
            return ArtifactResult(
                run_id=await run_id_of(context, row),
                seq=seq,
                field_path=field_path,
                mime=str(ref["mime"]),
                encoding=part.encoding,
                relpath=relpath,
                total_bytes=part.total,
                offset=part.offset,
                returned_bytes=part.end - part.offset,
                has_more=part.end < part.total,
                content=part.content,
            )


def reference(events: list[Event], seq: int, field_path: str) -> Mapping[str, Any]:
    """
    Return an event's reference to the artifact of one of its fields.

    Raises NoArtifactError if there is none.
    """
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


async def read_slice(blobs: BlobStore, key: str, offset: int, limit: int) -> ArtifactSlice:
    """
    Read up to ``limit`` bytes of a blob, in whole characters.

    Fewer are read if their encoding in a tool's result would exceed the size of a page, or, with a
    limit above the default, ``MAX_BYTES``. Raises KeyError if the blob does not exist.
    """
    # Who asks for more than the default reads it with a program.
    measure, most = (sent_bytes, MAX_BYTES) if limit > _DEFAULT_SLICE else (shown_bytes, PAGE_BYTES)
    part = await _read(blobs, key, offset, limit)
    while (size := measure(part.content)) > most:
        limit = min(limit, part.end - part.offset) * most // size
        part = await _read(blobs, key, offset, limit)
    return part


async def _read(blobs: BlobStore, key: str, offset: int, limit: int) -> ArtifactSlice:
    total = await blobs.size(key)
    if total is None:
        raise KeyError(key)
    first, last = min(offset, total), min(offset + limit, total)
    start = max(0, first - (_LONGEST_CHARACTER - 1))
    wanted = min(last + _LONGEST_CHARACTER - 1, total) - start
    raw = b"".join([chunk async for chunk in blobs.read(key, start, wanted)])
    begin, end = _whole_characters(raw, first - start, last - start)
    try:
        # Includes the character that the offset splits, to check that it is valid.
        raw[_boundary_before(raw, first - start) : end].decode()
        content, encoding = raw[begin:end].decode(), "utf-8"
    except UnicodeDecodeError:
        begin, end = first - start, last - start
        content, encoding = base64.b64encode(raw[begin:end]).decode("ascii"), "base64"
    return ArtifactSlice(content, encoding, start + begin, start + end, total)


def _whole_characters(raw: bytes, first: int, last: int) -> tuple[int, int]:
    begin, end = _boundary(raw, first), _boundary_before(raw, last)
    if end <= begin < len(raw):
        # The limit is smaller than the character: a slice must not be empty, so that readers
        # make progress.
        end = _boundary(raw, begin + 1)
    return begin, max(begin, end)


def _is_continuation(byte: int) -> bool:
    return byte & 0b1100_0000 == 0b1000_0000


def _boundary(raw: bytes, at: int) -> int:
    """Return the first position at or after ``at`` where a character begins."""
    while at < len(raw) and _is_continuation(raw[at]):
        at += 1
    return at


def _boundary_before(raw: bytes, at: int) -> int:
    """Return the last position at or before ``at`` where a character begins; the end is one."""
    while 0 < at < len(raw) and _is_continuation(raw[at]):
        at -= 1
    return at
