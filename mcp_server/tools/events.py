"""The tool that reads a run's events."""

import asyncio
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from agentrun.api.events import Event
from agentrun.api.status import Status
from agentrun.store.base import RunRow
from mcp_server.schemas.answer_size import within
from mcp_server.schemas.run_views import status_of
from mcp_server.schemas.runs import PollResult
from mcp_server.tools.context import (
    PROGRESS_SECONDS,
    SEAL_SECONDS,
    ToolContext,
    report_wait,
    tool_errors,
)
from mcp_server.tools.run_lookup import AgentName, Cwd, Namespace, RunId, resolve_after, run_id_of


def add_poll_events(server: MCPServer, context: ToolContext) -> None:
    """Register poll_events."""

    @server.tool(
        title="Follow a run",
        annotations=ToolAnnotations(
            read_only_hint=True, idempotent_hint=True, open_world_hint=False
        ),
    )
    async def poll_events(
        ctx: Context[Any, Any],
        after_seq: Annotated[
            int, Field(description="0 at first, then the previous next_after_seq.", ge=0)
        ],
        run_id: RunId = None,
        agent_name: AgentName = None,
        cwd: Cwd = None,
        limit: Annotated[
            int, Field(description="The maximum number of events.", ge=1, le=1000)
        ] = 100,
        wait_ms: Annotated[
            int, Field(description="How long to wait for an event.", ge=0, le=30_000)
        ] = 20_000,
        namespace: Namespace = None,
    ) -> PollResult:
        """
        Return the events of a run after `after_seq`; wait for one if there is none yet.

        It returns as soon as there is an event or the status changes; a page has up to `limit`
        events and 32 KiB. Call it again with
        `after_seq` set to `next_after_seq` until the status is completed, failed, cancelled or
        rejected and no more events come; the last event of every run is a `status_changed`.
        No events means that the agent is still working: call again. When the status is
        input_required, `get_run` shows the question.
        """
        with tool_errors():
            row = await resolve_after(context, after_seq, run_id, agent_name, cwd, namespace)
            row, events, status = await _next_events(
                context, ctx, row, after_seq, limit, wait_ms / 1000
            )
            return PollResult(
                run_id=await run_id_of(context, row),
                uid=row.run.metadata.uid,
                status=status,
                events=events,
                next_after_seq=events[-1].seq if events else after_seq,
            )


async def _next_events(
    context: ToolContext,
    ctx: Context[Any, Any],
    row: RunRow,
    after_seq: int,
    limit: int,
    seconds: float,
) -> tuple[RunRow, list[Event], Status]:
    uid, clock, known = row.run.metadata.uid, asyncio.get_running_loop().time, status_of(row)
    was_over, deadline, sealed_by = row.run.is_finished, clock() + seconds, 0.0

    # The status is compared with that at the start of the call: otherwise every call would return
    # immediately. A terminal status counts only with its event: a client that gets the status
    # without the event stops polling.
    def is_news(row: RunRow) -> bool:
        has_changed = status_of(row) != known and not row.run.is_finished
        return row.sealed or row.last_seq > after_seq or has_changed

    while True:
        row = await context.store.get_run_by_uid(uid) or row
        # No events beyond those in the row: the status must not be older than the last event.
        there = min(limit, max(0, row.last_seq - after_seq))
        events = within(await context.store.read(uid, after_seq, there))
        is_closing = row.run.is_finished and not row.sealed
        if is_closing:
            # Counted from when the end was observed, which may be at the end of a long wait.
            sealed_by = sealed_by or max(deadline, clock() + SEAL_SECONDS)
        left = (sealed_by if is_closing else deadline) - clock()
        if events or is_news(row):
            return row, events, status_of(row)
        if left <= 0 or context.stopping.is_set():
            if is_closing and was_over:
                name = row.run.metadata.name
                raise ToolError(
                    f"The end of run {name} is still being recorded. Call again with the same"
                    " after_seq."
                )
            return row, events, known if is_closing else status_of(row)
        await context.follow(row, is_news, min(left, PROGRESS_SECONDS), after_seq)
        await report_wait(ctx, row, seconds - (deadline - clock()), seconds)
