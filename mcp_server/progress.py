"""Progress notifications for clients that wait."""

from typing import Any

from mcp.server.mcpserver import Context

from agentrun.store.base import RunRow
from mcp_server.views import status_of, summary_of

PROGRESS_SECONDS = 5.0
"""The interval of progress notifications: clients time out on silent servers."""


async def report_wait(ctx: Context[Any, Any], row: RunRow, waited: float, seconds: float) -> None:
    """
    Send a progress notification with the time waited and the status of the run.

    Nothing is sent to a client that did not request progress.
    """
    await ctx.report_progress(
        round(waited, 3), seconds, f"{row.run.metadata.name} {status_of(row)}: {summary_of(row)}"
    )
