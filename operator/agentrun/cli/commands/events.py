"""``agentrun events``: a run's journal."""

import asyncio
from typing import Annotated

import typer

from agentrun.cli import exits
from agentrun.cli.client import Tools
from agentrun.cli.commands.common import Ref, parse_duration, with_tools
from agentrun.cli.following import Cursor
from agentrun.cli.foreground import Foreground
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import CliError
from agentrun.cli.render.events import render_event
from agentrun.cli.screen import OutputFormat, OutputOption, Screen


def tail(
    connection: ConnectionOptions,
    run: Ref,
    after: Annotated[int, typer.Option(min=0, help="Only events after this seq.")] = 0,
    limit: Annotated[
        int,
        typer.Option(min=0, help="Exit after this many events, without waiting; 0 for no limit."),
    ] = 0,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for further events.")
    ] = True,
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="The timeout for following: 90s, 15m.")
    ] = "",
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """
    Print the events of a run from the beginning, and follow it until it ends or waits.

    Exits as `agentrun runs wait` does; with 0 if --limit or --no-follow is set. Ctrl-C asks what
    to do with the run; a second Ctrl-C leaves it running.
    """
    seconds = parse_duration(timeout) if timeout else None

    async def work(tools: Tools) -> int:
        found, screen = await tools.find_run(run), Screen()
        cursor = Cursor(found.run_id, after, found.status)
        if limit or not follow:
            return await _print(tools, screen, cursor, limit, output)
        foreground = Foreground(tools, screen, output, found, cursor)
        try:
            async with asyncio.timeout(seconds):
                code = await foreground.watch()
        except TimeoutError:
            raise CliError(
                f"{found.run_id} is still {cursor.status} after {timeout}; `agentrun events tail"
                f" {found.run_id} --after {cursor.after_seq}` continues"
            ) from None
        if output is OutputFormat.JSON:
            ended = await tools.get_run(found.run_id)
            next_after = {"next_after_seq": cursor.after_seq}
            screen.json({"run": ended.raw(), "events": foreground.events, **next_after})
        return code

    with_tools(connection, work)


async def _print(
    tools: Tools, screen: Screen, cursor: Cursor, limit: int, output: OutputFormat
) -> int:
    """Print the events that exist now, without waiting for more."""
    left, all_raw = limit or None, []
    while left is None or left > 0:
        most = min(left or 1000, 1000)
        page = await tools.poll_events(cursor.run_id, cursor.after_seq, limit=most, wait_ms=0)
        cursor.after_seq = page.next_after_seq
        for event in page.events:
            if output is OutputFormat.JSON:
                all_raw.append(event.raw())
            elif output is OutputFormat.JSONL:
                screen.jsonl(event.raw())
            elif (text := render_event(event)) is not None:
                screen.show(text)
        if not page.events:
            break
        left = left - len(page.events) if left is not None else None
    if output is OutputFormat.JSON:
        screen.json({"events": all_raw, "next_after_seq": cursor.after_seq})
    return exits.OK
