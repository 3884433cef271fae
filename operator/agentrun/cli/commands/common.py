"""The arguments that the commands share, with shell completion of run ids, and how they run."""

import asyncio
import contextlib
import os
import re
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from agentrun.cli.client import Tools, open_tools
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.render.text import line_of

_PATIENCE = "AGENTRUN_COMPLETION_SECONDS"
"""The variable that sets the timeout of a completion in seconds. Default: 3."""
_NEWEST = 30
_RUN_ID = re.compile(r"[a-z0-9][a-z0-9.@-]*")
_FIELDS = ("url", "token", "kubeconfig", "context", "namespace")


def complete_run(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return run ids and their status; an empty list if they cannot be read."""
    given = {key: str(ctx.params[key]) for key in _FIELDS if ctx.params.get(key)}
    # A completion has no place to report an error.
    with contextlib.suppress(Exception):
        seconds = float(os.environ.get(_PATIENCE, "3"))
        found = asyncio.run(asyncio.wait_for(_newest(ConnectionOptions(**given)), seconds))
        return [pair for pair in found if pair[0].startswith(incomplete)]
    return []


async def _newest(options: ConnectionOptions) -> list[tuple[str, str]]:
    async with open_tools(options) as tools:
        page = await tools.list_runs(limit=_NEWEST)
    return [
        (run.run_id, line_of(f"{run.status} {run.agent_name}"))
        for run in page.runs
        # A candidate is inserted into a command line.
        if _RUN_ID.fullmatch(run.run_id)
    ]


Ref = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's id, or its agent's name.", autocompletion=complete_run
    ),
]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+)([smhd]?)")


def with_tools(
    connection: ConnectionOptions, work: Callable[[Tools], Awaitable[int | None]]
) -> None:
    """Call ``work`` with the MCP server's tools, and exit with the code that it returns."""

    async def run() -> int | None:
        async with open_tools(connection) as tools:
            return await work(tools)

    if code := asyncio.run(run()):
        raise typer.Exit(code)


def parse_duration(text: str) -> int:
    """Parse a duration into seconds: `90`, `90s`, `15m`, `1h30m`."""
    parts = _DURATION.findall(text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        raise typer.BadParameter(
            f"{text!r} is not a duration: use a form such as 90s, 15m or 1h30m"
        )
    return sum(int(number) * _UNITS[unit or "s"] for number, unit in parts)
