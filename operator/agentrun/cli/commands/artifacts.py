"""``agentrun artifacts``: event fields that are too large for the event itself."""

from pathlib import Path
from typing import Annotated

import typer

from agentrun.cli.client import Tools
from agentrun.cli.commands.common import Ref, with_tools
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import CliError
from agentrun.cli.reading import read_field
from agentrun.cli.screen import Screen


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
