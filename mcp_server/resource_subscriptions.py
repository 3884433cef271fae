"""
Telling clients that subscribe when a run, or its journal, has something new.

Whoever listens is served by one process, but what it listens for may be written by another: so
each run that is listened for is followed in the store, which hears of every replica's writes.
It looks at what is there, not at what happened, so a notice that was missed is harmless.

Only the protocol of 2026-07-28 has ``subscriptions/listen``, whose answer is the stream. Older
clients subscribe to a session, which only the bridge keeps (``docs/decisions/0012``).
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS

from agentrun.store.base import RunRow, StoreError
from mcp_server.resources import run_of
from mcp_server.run_lookup import resolve
from mcp_server.tool_context import ToolContext

MAX_RESOURCES = 64
"""How many resources one client may listen for at once."""
_LOOK_SECONDS = 30.0
_PAUSE = 1.0
# An agent writes many events a second; who listens is told once in that time.
_PACE = 0.5

_log = logging.getLogger(__name__)


@dataclass
class _Subscription:
    task: asyncio.Task[None]
    listeners: int = 0


class ResourceSubscriptions:
    """The runs that are listened for. Its ``middleware`` goes into the server."""

    def __init__(self, context: ToolContext) -> None:
        self._door = context
        self.bus = InMemorySubscriptionBus()
        self._followed: dict[str, _Subscription] = {}

    async def middleware(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Follow what a client listens for as long as it does."""
        if ctx.method != "subscriptions/listen":
            return await call_next(ctx)
        wanted = (ctx.params or {}).get("notifications") or {}
        async with self._follow(list(wanted.get("resourceSubscriptions") or [])):
            listening = asyncio.ensure_future(call_next(ctx))
            stopping = asyncio.ensure_future(self._door.leaving.wait())
            try:
                await asyncio.wait({listening, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if listening.done():
                    return listening.result()
                raise MCPError(INTERNAL_ERROR, "This server is about to end. Listen again.")
            finally:
                for task in (listening, stopping):
                    task.cancel()
                await asyncio.gather(listening, stopping, return_exceptions=True)

    @asynccontextmanager
    async def _follow(self, uris: list[str]) -> AsyncIterator[None]:
        if len(uris) > MAX_RESOURCES:
            message = f"{len(uris)} resources; {MAX_RESOURCES} is the most. Listen for fewer."
            raise MCPError(INVALID_PARAMS, message)
        rows = {uri: row for uri in uris if (row := await self._row(uri))}
        for uri, row in rows.items():
            self._begin(uri, row)
        try:
            yield
        finally:
            for uri in rows:
                self._end(uri)

    async def _row(self, uri: str) -> RunRow | None:
        """Return the run of a URI; None where nothing ever changes that could be told."""
        named = run_of(uri)
        if named is None:
            return None
        try:
            return await resolve(self._door, named[1], None, None, named[0])
        except ToolError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from error

    def _begin(self, uri: str, row: RunRow) -> None:
        if uri not in self._followed:
            task = asyncio.create_task(self._watch(uri, row), name=f"follow {uri}")
            self._followed[uri] = _Subscription(task)
        self._followed[uri].listeners += 1

    def _end(self, uri: str) -> None:
        followed = self._followed[uri]
        followed.listeners -= 1
        if not followed.listeners:
            followed.task.cancel()
            del self._followed[uri]

    async def _watch(self, uri: str, row: RunRow) -> None:
        """Tell of every change, until nobody listens any more."""
        store, uid, seen = self._door.store, row.run.metadata.uid, _state(row)
        while True:
            try:
                await store.wait(uid, row.last_seq, _LOOK_SECONDS)
                row = await store.get_run_by_uid(uid) or row
            except StoreError as error:
                _log.warning("run %s cannot be followed just now: %s", row.run.metadata.name, error)
                await asyncio.sleep(_PAUSE)
                continue
            if _state(row) != seen:
                seen = _state(row)
                await self.bus.publish(ResourceUpdated(uri=uri))
            await asyncio.sleep(_PACE)


def _state(row: RunRow) -> tuple[object, ...]:
    """What a reader of the resource would see change."""
    return row.last_seq, row.sealed, row.deleted_at, row.run.metadata.resource_version
