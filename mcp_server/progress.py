"""Telling a client that waits that the server still does."""

from typing import Any

from mcp.server.mcpserver import Context

from agentrun.store.base import RunRow
from mcp_server.views import status_of, summary_of

PROGRESS_SECONDS = 5.0
"""How often who waits hears of it: clients give up on servers that say nothing."""


async def report_wait(ctx: Context[Any, Any], row: RunRow, waited: float, seconds: float) -> None:
    """Say how long was waited, and for what. A client that asks for no progress hears nothing."""
    await ctx.report_progress(
        round(waited, 3), seconds, f"{row.run.metadata.name} {status_of(row)}: {summary_of(row)}"
    )
