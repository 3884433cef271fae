"""A client's session, which forwards its messages concurrently."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from agentrun.cli.bridge.exchange import PATIENCE, Exchange, RetryPolicy
from agentrun.cli.bridge.messages import AWAY, JsonRpcMessage, MalformedError, failure, parse
from agentrun.cli.bridge.stdio import Wire
from agentrun.cli.bridge.subscriptions import Subscriptions, announced
from agentrun.cli.connection import ServerEndpoint, server_endpoint
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import CliError

_log = logging.getLogger(__name__)


class Connector:
    """Locates the MCP server on first use and caches the endpoint."""

    def __init__(self, options: ConnectionOptions, stack: AsyncExitStack) -> None:
        self._options = options
        self._stack = stack
        self._lock = asyncio.Lock()
        self._found: ServerEndpoint | None = None

    async def reach(self) -> ServerEndpoint:
        """Return the endpoint. Raises CliError if the MCP server cannot be found."""
        async with self._lock:
            if self._found is None:
                self._found = await self._stack.enter_async_context(server_endpoint(self._options))
                _log.info("connected to %s", self._found.place)
            return self._found


class Session:
    """The messages in flight between a client and the MCP server."""

    def __init__(self, wire: Wire, exchange: Exchange) -> None:
        self._wire = wire
        self._exchange = exchange
        self._subscriptions = Subscriptions(exchange, wire.send)
        self._requests: dict[str | int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Forward messages until the client closes its input."""
        try:
            async for line in self._wire.lines():
                self._take(line)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._subscriptions.close()

    def _take(self, line: bytes) -> None:
        try:
            message = parse(line)
        except MalformedError as error:
            self._wire.send(error.reply)
            return
        if message.cancels is not None:
            # Over HTTP, closing the stream cancels a request. No response is sent for it.
            if task := self._requests.get(message.cancels):
                task.cancel()
            return
        if self._subscriptions.take(message):
            return
        task = self._start(self._carry(message))
        if message.is_request and message.id is not None:
            self._requests[message.id] = task
            task.add_done_callback(lambda done: self._forget(message.id, done))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _forget(self, request_id: str | int | None, task: asyncio.Task[None]) -> None:
        if request_id is not None and self._requests.get(request_id) is task:
            del self._requests[request_id]

    async def _carry(self, message: JsonRpcMessage) -> None:
        try:
            async for reply in self._exchange.carry(message):
                self._wire.send(announced(reply) if message.method == "initialize" else reply)
                if isinstance(reply, dict):
                    _log.warning("%s: %s", message.title, reply["error"]["message"])
        except Exception as error:  # noqa: BLE001 - the session's other messages must not suffer
            _log.exception("%s failed", message.title)
            if message.is_request:
                self._wire.send(failure(message.id, AWAY, f"the bridge failed: {error!r}"))


async def serve(wire: Wire, options: ConnectionOptions, patience: RetryPolicy = PATIENCE) -> None:
    """Run the bridge until the client disconnects."""
    async with AsyncExitStack() as stack:
        endpoint = Connector(options, stack)
        wire.start()
        work = [
            asyncio.create_task(Session(wire, Exchange(endpoint.reach, patience)).run()),
            asyncio.create_task(wire.gone.wait()),
        ]
        greeting = asyncio.create_task(_greet(endpoint))
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*work, greeting):
                task.cancel()
            await asyncio.gather(*work, greeting, return_exceptions=True)


async def _greet(endpoint: Connector) -> None:
    """Connect before the first message arrives to hide the latency; failures are retried then."""
    try:
        await endpoint.reach()
    except CliError as error:
        _log.warning("%s", error)
