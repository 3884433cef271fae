"""Shell completion of run ids: the newest runs, if the MCP server responds in time."""

import asyncio
import contextlib
import os
import re

import typer

from agentrun.cli.options import ConnectionOptions

_PATIENCE = "AGENTRUN_COMPLETION_SECONDS"
"""The variable that sets the timeout of a completion in seconds. Default: 3."""
_NEWEST = 30
_RUN_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
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
    from agentrun.cli.client import open_tools
    from agentrun.cli.render.text import line_of

    async with open_tools(options) as tools:
        page = await tools.list_runs(limit=_NEWEST)
    return [
        (run.run_id, line_of(f"{run.status} {run.agent_name}"))
        for run in page.runs
        # A candidate is inserted into a command line.
        if _RUN_ID.fullmatch(run.run_id)
    ]
