"""
``agentrun artifacts`` and ``agentrun runs diff``: event fields that are too large for the event.

They are read in chunks. A run's patch is one of them.
"""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from agentrun.api.printable import printable
from agentrun.api.status import TERMINAL_STATUSES
from agentrun.cli.answers import Event, Run
from agentrun.cli.client import Tools
from agentrun.cli.commands.common import Ref, with_tools
from agentrun.cli.following import all_events
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import CliError
from agentrun.cli.screen import Screen

_PATCH = "/patch"
_TAIL = 100


async def read_field(
    tools: Tools, run_id: str, seq: int, field_path: str, offset: int = 0, most: int | None = None
) -> AsyncIterator[bytes]:
    """Yield a field's bytes from ``offset`` on, at most ``most`` of them."""
    left = most
    while left is None or left > 0:
        limit = min(262_144, left) if left is not None else 262_144
        part = await tools.get_event_artifact(run_id, seq, field_path, offset=offset, limit=limit)
        yield content_of(part.encoding, part.content)
        offset = part.offset + part.returned_bytes
        left = left - part.returned_bytes if left is not None else None
        if not part.has_more or not part.returned_bytes:
            return


def content_of(encoding: str, content: str) -> bytes:
    """Decode the content of a part."""
    return base64.b64decode(content) if encoding == "base64" else content.encode()


async def find_patch(tools: Tools, run: Run) -> Event:
    """Return the newest event that holds the run's patch. Raises CliError if there is none."""
    for after in sorted({max(0, run.last_seq - _TAIL), 0}, reverse=True):
        found = None
        async for event in all_events(tools, run.run_id, after):
            if _PATCH in (event.data.get("artifact_refs") or {}):
                found = event
        if found is not None:
            return found
    if run.status not in TERMINAL_STATUSES:
        raise CliError(
            f"{run.run_id} is {run.status}, and its patch is created at the end:"
            f" `agentrun runs wait {run.run_id}` waits for it"
        )
    raise CliError(
        f"{run.run_id} has no patch: it changed nothing, or had no git repository (--repo)"
    )


def get(
    connection: ConnectionOptions,
    run: Ref,
    seq: Annotated[int, typer.Argument(min=1, help="The event's seq.")],
    field_path: Annotated[
        str, typer.Argument(help="A key of the event's artifact_refs, such as /output.")
    ],
    offset: Annotated[int, typer.Option(min=0, help="The offset of the first byte.")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="The maximum number of bytes; 0 for all.")] = 0,
    output_file: Annotated[
        Path | None, typer.Option("--output-file", help="Write to this file instead of stdout.")
    ] = None,
) -> None:
    """
    Print the complete field of which an event has only a preview.

    `agentrun events tail RUN --output jsonl` lists these fields in artifact_refs.
    """

    async def work(tools: Tools) -> None:
        found = await tools.find_run(run)
        parts = read_field(tools, found.run_id, seq, field_path, offset, limit or None)
        screen = Screen()
        if output_file is None:
            async for part in parts:
                screen.pass_on(part)
            return
        size = 0
        try:
            with output_file.open("wb") as file:
                async for part in parts:
                    size += file.write(part)
        except OSError as error:
            raise CliError(f"{output_file} cannot be written: {error.strerror}") from error
        screen.note(f"{size} bytes were written to {output_file}")

    with_tools(connection, work)


_STYLES = (
    ("+++", "bold"), ("---", "bold"), ("diff ", "bold"), ("index ", "dim"),
    ("@@", "cyan"), ("+", "green"), ("-", "red"),
)  # fmt: skip


def diff(connection: ConnectionOptions, run: Ref) -> None:
    """
    Print the change a run made, as a git patch.

    In colours on a terminal; piped, it is the patch itself, byte by byte:
    `agentrun runs diff RUN | git apply`.
    """

    async def work(tools: Tools) -> None:
        found = await tools.find_run(run)
        event = await find_patch(tools, found)
        screen = Screen()
        patch = b""
        async for part in read_field(tools, found.run_id, event.seq, "/patch"):
            if not screen.out.is_terminal:
                screen.pass_on(part)
                continue
            # Only complete lines are coloured.
            *lines, patch = (patch + part).split(b"\n")
            for line in lines:
                screen.line(_coloured(line))
        if patch:
            screen.line(_coloured(patch))

    with_tools(connection, work)


def _coloured(line: bytes) -> Text:
    text = printable(line.decode(errors="replace"))
    style = next((style for start, style in _STYLES if text.startswith(start)), "")
    return Text(text, style=style)
