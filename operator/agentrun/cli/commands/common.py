"""The arguments that the commands share, and how commands run."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from agentrun.cli.client import Tools, open_tools
from agentrun.cli.commands.completing import complete_run
from agentrun.cli.options import ConnectionOptions

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
