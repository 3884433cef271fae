"""
Relays requests for AgentRun's own tools from the agent to the gateway.

The agent uses MCP over a port on the pod's loopback interface. Its messages are forwarded to the
gateway unchanged, with the run's token, which the agent never holds. The gateway implements the
protocol and decides which tools the profile allows. Only a chunk of each message is in memory.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from agentrun.api import pod_layout
from agentrun.api.gateway import MAX_MCP_BYTES
from agentrun.runner.gateway import Gateway, GatewayRefusedError, GatewayUnavailableError

NAME = pod_layout.OWN_SERVER
MAX_REPLY = 4 * 1024 * 1024
"""The largest response that the runner itself reads."""
_AT_ONCE = 8
_CHUNK = 64 * 1024
_PASSED = frozenset({
    "accept", "content-type", "mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name",
    "last-event-id",
})  # fmt: skip
_ANSWERED = frozenset({"content-type", "cache-control", "mcp-session-id", "retry-after"})
# An MCP client reacts to 401 with a login; here the gateway has refused the runner.
_UNAUTHORIZED, _BAD_GATEWAY = 401, 502

log = logging.getLogger(__name__)


class ToolCallError(Exception):
    """A tool refused a call. The message states what to do instead."""


class McpRelay:
    """Access to the gateway's tools, for the agent and for ``peer``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._room = asyncio.Semaphore(_AT_ONCE)
        # A body without content-length must be read completely first: one at a time.
        self._unmeasured = asyncio.Lock()

    @asynccontextmanager
    async def serve(self, port: int, path: str) -> AsyncIterator[str]:
        """
        Listen on the pod's loopback interface during the block, and yield the URL.

        Only the agent knows the ``path``; requests with another path are refused.
        """
        app = web.Application(client_max_size=MAX_MCP_BYTES)
        app.router.add_post(path, self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
        finally:
            await runner.cleanup()

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool, and return its result. Raises ToolCallError or GatewayError."""
        params = {"name": tool, "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        headers = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        async with self._gateway.mcp(json.dumps(body).encode(), headers) as response:
            content = await _read(response)
        if response.status >= 300:
            text = content[:500].decode(errors="replace")
            raise GatewayUnavailableError(f"the gateway answered {response.status}: {text}")
        return _result_in(content)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        size = request.content_length
        if size is not None and size > MAX_MCP_BYTES:
            raise web.HTTPRequestEntityTooLarge(MAX_MCP_BYTES, size)
        headers = {k: v for k, v in request.headers.items() if k.lower() in _PASSED}
        try:
            if size is not None:
                headers["content-length"] = str(size)
                return await self._relay(request, headers, request.content.iter_chunked(_CHUNK))
            async with self._unmeasured:
                return await self._relay(request, headers, await request.read())
        except GatewayUnavailableError as error:
            log.warning("AgentRun's tools cannot be reached: %s", error)
            text = f"AgentRun's gateway cannot be reached: {error}. Try again in a few seconds."
            return web.Response(status=503, text=text, headers={"retry-after": "2"})

    async def _relay(
        self, request: web.Request, headers: dict[str, str], body: AsyncIterator[bytes] | bytes
    ) -> web.StreamResponse:
        async with self._room, self._gateway.mcp(body, headers) as response:
            return await _pass_on(request, response)


async def _pass_on(request: web.Request, response: aiohttp.ClientResponse) -> web.StreamResponse:
    status = _BAD_GATEWAY if response.status == _UNAUTHORIZED else response.status
    headers = {k: v for k, v in response.headers.items() if k.lower() in _ANSWERED}
    answer = web.StreamResponse(status=status, headers=headers)
    try:
        await answer.prepare(request)
        async for chunk in response.content.iter_chunked(_CHUNK):
            await answer.write(chunk)
        await answer.write_eof()
    except (ConnectionError, TimeoutError, aiohttp.ClientError) as error:
        log.debug("the agent, or the gateway, closed a connection early: %s", error)
    return answer


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        content += chunk
        if len(content) > MAX_REPLY:
            raise GatewayRefusedError("the answer is too large. Ask for less at once.")
    return bytes(content)


def _result_in(content: bytes) -> dict[str, Any]:
    """Read the response to a call, as JSON or as an event stream."""
    lines = content.splitlines()
    data = [line.removeprefix(b"data:") for line in lines if line.startswith(b"data:")]
    try:
        for one in data or [content]:
            message = json.loads(one)
            if "error" in message:
                raise ToolCallError(str(message["error"].get("message", message["error"])))
            if "result" in message:
                return _structured(message["result"])
    except (ValueError, KeyError, AttributeError) as error:
        raise GatewayRefusedError(f"the gateway's answer cannot be read: {error}") from error
    raise GatewayRefusedError("the gateway did not answer the call.")


def _structured(result: dict[str, Any]) -> dict[str, Any]:
    if result.get("isError"):
        text = "\n".join(part.get("text", "") for part in result["content"])
        raise ToolCallError(text.removeprefix("Error: "))
    structured: dict[str, Any] = result["structuredContent"]
    return structured
