"""
Limits on the resources of unauthenticated connections.

Any client that reaches a port can open connections, send half of a request and stall. Therefore the
number of connections is limited, per peer and in total, and the headers of each request on a
connection have a timeout. ``Bounded`` limits the concurrent requests of a peer, the size of their
bodies, and the time these take.
"""

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mcp_server.access.reviews import peer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectionLimits:
    """The limits of one port."""

    connections: int = 4096
    """Connections in total."""
    of_peer: int = 1024
    """Connections from one address. Clients behind an ingress or a port-forward share one."""
    requests_of_peer: int = 512
    """Concurrent requests from one address, including long polls."""
    header_seconds: float = 15.0
    body_bytes: int | None = 4 * 1024 * 1024
    """None if each path has its own limit."""
    body_silence_seconds: float = 20.0
    body_seconds: float | None = 120.0


CLIENTS = ConnectionLimits()
RUNNERS = ConnectionLimits(
    of_peer=128,
    requests_of_peer=96,
    body_bytes=None,
    # The gateway has a shorter timeout of its own, with a more detailed error.
    body_silence_seconds=60.0,
    body_seconds=None,
)
"""Each pod has its own address. The gateway limits bodies per path."""


@dataclass
class Open:
    """Counts the open connections of one port."""

    bounds: ConnectionLimits
    of_peer: Counter[str] = field(default_factory=Counter)

    def acquire(self, address: str) -> bool:
        """Count a connection; return False if a limit is reached."""
        is_full = self.of_peer.total() >= self.bounds.connections
        if is_full or self.of_peer[address] >= self.bounds.of_peer:
            if not self.of_peer[address]:
                del self.of_peer[address]
            return False
        self.of_peer[address] += 1
        return True

    def release(self, address: str) -> None:
        """Uncount a connection."""
        self.of_peer[address] -= 1
        if self.of_peer[address] <= 0:
            del self.of_peer[address]


class _Protocol(H11Protocol):
    opened: Open

    _address: str | None = None
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if not self.opened.acquire(address):
            _log.debug("closed a connection from %s: too many are open", address)
            transport.abort()
            return
        self._address = address
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_are_there()
        if self._address is not None:
            self.opened.release(self._address)
            self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._address is None:
            return
        if self._late is None and self._is_between_requests():
            self._wait_for_headers()
        super().data_received(data)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._headers_are_there()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # uvicorn closes idle connections; a pipelined request that has begun gets the timeout.
        if self._is_between_requests() and self.conn.trailing_data[0]:
            self._wait_for_headers()

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_headers(self) -> None:
        self._headers_are_there()
        self._late = self.loop.call_later(self.opened.bounds.header_seconds, self._end_if_late)

    def _headers_are_there(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end_if_late(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


def protocol_with(bounds: ConnectionLimits) -> type[H11Protocol]:
    """Return uvicorn's HTTP/1.1 protocol class for one port, with its limits."""
    return type("Protocol", (_Protocol,), {"opened": Open(bounds)})


class Bounded:
    """ASGI middleware that limits the concurrent requests of each peer and their bodies."""

    def __init__(self, app: ASGIApp, bounds: ConnectionLimits) -> None:
        self._app = app
        self._bounds = bounds
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; respond 429 for too many requests, 413 for too large a body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = (scope.get("client") or ("",))[0]
        if self._under_way[address] >= self._bounds.requests_of_peer:
            await _refuse(
                scope,
                receive,
                send,
                429,
                "There are too many concurrent requests from your address.",
            )
            return
        if self._is_too_large(scope):
            most = self._bounds.body_bytes
            await _refuse(
                scope, receive, send, 413, f"The body of a request is limited to {most} bytes."
            )
            return
        peer.set(address)
        self._under_way[address] += 1
        try:
            await self._app(scope, _Body(receive, self._bounds).receive, send)
        finally:
            self._under_way[address] -= 1
            if not self._under_way[address]:
                del self._under_way[address]

    def _is_too_large(self, scope: Scope) -> bool:
        most = self._bounds.body_bytes
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        return most is not None and declared.isdigit() and int(declared[:20]) > most


class _Body:
    """A request's body. One that is too large or too slow ends as a client disconnect."""

    def __init__(self, receive: Receive, bounds: ConnectionLimits) -> None:
        self._receive = receive
        self._bounds = bounds
        self._size = 0
        self._is_over = False
        self._end: float | None = None

    async def receive(self) -> Message:
        """Return the next ASGI message."""
        if self._is_over:
            return await self._receive()
        seconds = self._bounds.body_silence_seconds
        if self._bounds.body_seconds is not None:
            now = asyncio.get_running_loop().time()
            self._end = self._end or now + self._bounds.body_seconds
            seconds = min(seconds, self._end - now)
        message = await self._next(seconds)
        if message is None:
            return self._release()
        self._is_over = message["type"] != "http.request" or not message.get("more_body")
        self._size += len(message.get("body") or b"")
        most = self._bounds.body_bytes
        return self._release() if most is not None and self._size > most else message

    async def _next(self, seconds: float) -> Message | None:
        # Twice: data that arrived while this process got no CPU is seen together with the expiry of
        # the timeout, but arrived in time.
        for left in (seconds, 0):
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    return await self._receive()
        return None

    def _release(self) -> Message:
        self._is_over = True
        return {"type": "http.disconnect"}


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
    content: dict[str, Any] = {
        "error": "unavailable" if status == 429 else "too_large",
        "message": f"{why} Try again later." if status == 429 else f"{why} Send less.",
    }
    headers = {"Retry-After": "2"} if status == 429 else {}
    await JSONResponse(content, status, headers)(scope, receive, send)
