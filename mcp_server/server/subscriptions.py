"""
Notifies subscribed clients when a run or its journal changes.

A client is connected to one replica, but another replica may write the run. Therefore each
subscribed run is watched in the store, which is notified of the writes of all replicas.
Notifications are derived from the stored state, so a missed one is harmless.

Only the MCP protocol of 2026-07-28 has ``subscriptions/listen``, whose response is the stream.
Subscriptions of older clients belong to a session, which only the bridge has
(``docs/decisions/0012``).
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

from agentrun.backoff import Backoff
from agentrun.store.base import RunRow, StoreError
from mcp_server.server.resources import run_of
from mcp_server.tools.context import ToolContext
from mcp_server.tools.run_lookup import resolve

MAX_RESOURCES = 64
"""The maximum number of resources in one subscription request."""
_LOOK_SECONDS = 30.0
_PAUSES = (0.2, 0.5, 1.0)
# Seconds between notifications: an agent may write many events per second.
_PACE = 0.5

_log = logging.getLogger(__name__)


@dataclass
class _Subscription:
    task: asyncio.Task[None]
    listeners: int = 0


class ResourceSubscriptions:
    """The subscribed resources. Its ``middleware`` is passed to the MCP server."""

    def __init__(self, context: ToolContext) -> None:
        self._context = context
        self.bus = InMemorySubscriptionBus()
        self._followed: dict[str, _Subscription] = {}

    async def middleware(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Watch the resources of a ``subscriptions/listen`` request until it ends."""
        if ctx.method != "subscriptions/listen":
            return await call_next(ctx)
        wanted = (ctx.params or {}).get("notifications") or {}
        async with self._follow(list(wanted.get("resourceSubscriptions") or [])):
            listening = asyncio.ensure_future(call_next(ctx))
            stopping = asyncio.ensure_future(self._context.leaving.wait())
            try:
                await asyncio.wait({listening, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if listening.done():
                    return listening.result()
                raise MCPError(
                    INTERNAL_ERROR, "This server is shutting down. Send the request again."
                )
            finally:
                for task in (listening, stopping):
                    task.cancel()
                await asyncio.gather(listening, stopping, return_exceptions=True)

    @asynccontextmanager
    async def _follow(self, uris: list[str]) -> AsyncIterator[None]:
        if len(uris) > MAX_RESOURCES:
            message = f"{len(uris)} resources exceed the limit of {MAX_RESOURCES}. Request fewer."
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
        """Return the run of a URI; None if the URI is not that of a run or a journal."""
        named = run_of(uri)
        if named is None:
            return None
        try:
            return await resolve(self._context, named[1], None, None, named[0])
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
        """Publish every change of a run until cancelled."""
        store, uid, seen = self._context.store, row.run.metadata.uid, _state(row)
        backoff = Backoff(_PAUSES)
        async with store.changes(uid, row.last_seq) as changes:
            while True:
                try:
                    row = await store.get_run_by_uid(uid) or row
                except StoreError as error:
                    _log.warning(
                        "run %s cannot be watched at the moment: %s", row.run.metadata.name, error
                    )
                    await backoff.wait()
                    continue
                backoff.reset()
                if _state(row) != seen:
                    seen = _state(row)
                    await self.bus.publish(ResourceUpdated(uri=uri))
                    await asyncio.sleep(_PACE)
                await changes.next(_LOOK_SECONDS)


def _state(row: RunRow) -> tuple[object, ...]:
    """Return the values that change whenever the resource does."""
    return row.last_seq, row.sealed, row.deleted_at, row.run.metadata.resource_version
