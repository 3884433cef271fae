"""A client for an installed AgentRun, which connects as a user's MCP client does."""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from agentrun.api.status import TERMINAL_STATUSES

_log = logging.getLogger(__name__)

Json = dict[str, Any]
# A waiting call takes up to 30 s by itself, and longer on a busy machine.
_SILENCE = 240
# Created once: loading all CAs of the machine takes longer than most calls.
_TRUST = ssl.create_default_context()


class ToolCallError(Exception):
    """A tool returned an error, or no structured result."""


class McpClient:
    """
    The MCP tools as methods.

    Calls share one connection, which is opened by the first call and reopened by the next call
    after a failure: connecting takes ten times as long as a call. ``anew`` returns a client that
    opens a connection for each call.
    """

    _spawned: ClassVar[list[tuple[float, str]]] = []

    def __init__(self, url: str, token: str, is_kept: bool = True) -> None:
        self.url = url
        self.token = token
        self._is_kept = is_kept
        self._connection: _Connection | None = None

    @classmethod
    def spawned(cls, since: float) -> set[str]:
        """Return the ids of the runs that this process has started since a time."""
        return {run_id for when, run_id in cls._spawned if when >= since}

    def anew(self) -> "McpClient":
        """Return a client of the same MCP server that opens a connection for each call."""
        return McpClient(self.url, self.token, is_kept=False)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Open a connection."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=_SILENCE, verify=_TRUST) as http,
            Client(streamable_http_client(self.url, http_client=http)) as client,
        ):
            yield client

    async def close(self) -> None:
        """Close the connection if one is open."""
        if self._connection:
            connection, self._connection = self._connection, None
            await connection.close()

    async def call(self, tool: str, **arguments: Any) -> Json:
        """Call ``tool`` and return its structured result. Raises ToolCallError if it fails."""
        async with self._connected() as client:
            result = await client.call_tool(tool, arguments)
        if result.is_error:
            raise ToolCallError(" ".join(getattr(part, "text", "") for part in result.content))
        content = result.structured_content
        if isinstance(content, dict):
            if tool in ("spawn_run", "continue_run"):
                self._spawned.append((time.time(), str(content.get("run_id"))))
            return content
        raise ToolCallError(f"{tool} gave no structured result: {json.dumps(content)}")

    async def events(self, run_id: str, after_seq: int = 0) -> AsyncIterator[Json]:
        """Yield a run's events until the run has finished and no events are left."""
        while True:
            page = await self.call("poll_events", run_id=run_id, after_seq=after_seq)
            for event in page["events"]:
                yield event
            after_seq = page["next_after_seq"]
            if page["status"] in TERMINAL_STATUSES and not page["events"]:
                return

    async def finish(self, run_id: str) -> tuple[Json, list[Json]]:
        """Wait until a run has finished. Return the run and all its events."""
        events = [event async for event in self.events(run_id)]
        return await self.call("get_run", run_id=run_id), events

    async def cancel(self, run_id: str, seconds: float = 120, **more: Any) -> Json:
        """Call cancel_run until it no longer returns ``cancelling``. Return its last response."""
        async with asyncio.timeout(seconds):
            while True:
                answer = await self.call("cancel_run", run_id=run_id, wait_ms=30_000, **more)
                if answer["status"] != "cancelling":
                    return answer

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        if not self._is_kept:
            async with self.client() as client:
                yield client
            return
        used = self._connection = self._connection or _Connection(self)
        try:
            async with used.used() as client:
                yield client
        except Exception:
            # After any failure the connection is not reused.
            if self._connection is used:
                self._connection = None
            used.end()
            raise


class _Connection:
    """An open connection, held by its own task: the task that opens it must also close it."""

    def __init__(self, server: McpClient) -> None:
        self._opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._calls = 0
        self._is_ending = False
        self._unused = asyncio.Event()
        self._task = asyncio.create_task(self._keep(server))

    @asynccontextmanager
    async def used(self) -> AsyncIterator[Client]:
        """Use the connection for a call, once it is open. Raises the error if it cannot open."""
        self._calls += 1
        try:
            yield await asyncio.shield(self._opened)
        finally:
            self._calls -= 1
            self._look()

    def end(self) -> None:
        """Close the connection as soon as no call uses it."""
        self._is_ending = True
        self._look()

    async def close(self) -> None:
        """Close the connection and wait until it is closed."""
        self.end()
        with suppress(Exception):  # The connection broke: it is closed anyway.
            await self._task

    def _look(self) -> None:
        if self._is_ending and not self._calls:
            self._unused.set()

    async def _keep(self, server: McpClient) -> None:
        try:
            async with server.client() as client:
                self._opened.set_result(client)
                await self._unused.wait()
        except Exception as error:  # noqa: BLE001 - it is told to whoever waits, whatever it is
            if self._opened.done():
                # Pending calls fail because the connection is closed, but without the cause.
                _log.warning("the connection to %s broke off", server.url, exc_info=error)
                return
            self._opened.set_exception(error)
