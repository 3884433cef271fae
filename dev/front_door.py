"""Reaching an installed AgentRun the way a user's MCP client does."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

Json = dict[str, Any]
TERMINAL = frozenset({"completed", "failed", "cancelled", "rejected"})


class ToolFailed(Exception):  # noqa: N818 - what happened, in the tool's own words
    """A tool answered with an error."""


class FrontDoor:
    """The MCP tools as methods. Every call is a connection of its own, as the server is stateless,
    so it also works right after the server came back."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Connect once."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(self.url, http_client=http)) as client,
        ):
            yield client

    @asynccontextmanager
    async def kept_open(self) -> AsyncIterator["FrontDoor"]:
        """Speak over one connection, for many calls: connecting costs more than they do."""
        async with self.client() as client:
            yield _Connected(self, client)

    async def call(self, tool: str, **arguments: Any) -> Json:
        """Call ``tool`` and return its structured result; ToolFailed with its text otherwise."""
        async with self.client() as client:
            result = await client.call_tool(tool, arguments)
        if result.is_error:
            raise ToolFailed(" ".join(getattr(part, "text", "") for part in result.content))
        content = result.structured_content
        if isinstance(content, dict):
            return content
        raise ToolFailed(f"{tool} gave no structured result: {json.dumps(content)}")

    async def events(self, run_id: str, after_seq: int = 0) -> AsyncIterator[Json]:
        """Follow a run's events until its journal is at its end and the run is over."""
        while True:
            page = await self.call("poll_events", run_id=run_id, after_seq=after_seq)
            for event in page["events"]:
                yield event
            after_seq = page["next_after_seq"]
            if page["status"] in TERMINAL and not page["events"]:
                return

    async def finish(self, run_id: str) -> tuple[Json, list[Json]]:
        """Wait for the end of a run; return it with all its events."""
        events = [event async for event in self.events(run_id)]
        return await self.call("get_run", run_id=run_id), events

    async def cancel(self, run_id: str, seconds: float = 120, **more: Any) -> Json:
        """Call cancel_run, again while it answers ``cancelling``; return its last answer."""
        async with asyncio.timeout(seconds):
            while True:
                answer = await self.call("cancel_run", run_id=run_id, wait_ms=30_000, **more)
                if answer["status"] != "cancelling":
                    return answer


class _Connected(FrontDoor):
    """A front door whose calls go over one connection."""

    def __init__(self, door: FrontDoor, client: Client) -> None:
        super().__init__(door.url, door.token)
        self._client = client

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        yield self._client
