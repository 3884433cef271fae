"""What strangers can do to a port, before anybody knows who they are."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import uvicorn
from starlette.types import Receive, Scope, Send

from mcp_server.http.connections import Bounded, ConnectionLimits, protocol_with

TIGHT = ConnectionLimits(
    connections=20, of_peer=10, requests_of_peer=3, header_seconds=0.3, body_bytes=1000,
    body_silence_seconds=0.3, body_seconds=1.0,
)  # fmt: skip
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_OPEN: list[asyncio.StreamWriter] = []


class App:
    """Reads a body, and answers its length; at /wait it answers when it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = self.left = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        size = 0
        while True:
            self.asked += 1
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left += 1
                return
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        if scope["path"] == "/wait":
            await self.go.wait()
        body = str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(bounds: ConnectionLimits = TIGHT) -> AsyncIterator[tuple[App, int]]:
    app = App()
    config = uvicorn.Config(
        Bounded(app, bounds), http=protocol_with(bounds), host="127.0.0.1", port=0,
        log_config=None, lifespan="off", timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - it sets no event
        await asyncio.sleep(0.01)
    try:
        async with asyncio.timeout(60):
            yield app, server.servers[0].sockets[0].getsockname()[1]
    finally:
        app.go.set()
        for writer in _OPEN:
            writer.close()
        await asyncio.gather(*(one.wait_closed() for one in _OPEN), return_exceptions=True)
        _OPEN.clear()
        server.should_exit = True
        await task


async def connected(port: int) -> Streams:
    streams = await asyncio.open_connection("127.0.0.1", port)
    _OPEN.append(streams[1])
    return streams


async def said(port: int, text: bytes) -> Streams:
    reader, writer = await connected(port)
    writer.write(text)
    await writer.drain()
    return reader, writer


async def is_ended(reader: asyncio.StreamReader) -> bool:
    """Wait for the server to end a connection, whatever it says before."""
    with suppress(ConnectionError):
        await reader.read()
    return reader.at_eof() or reader.exception() is not None


GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def status_of(streams: Streams) -> bytes:
    reader, _ = streams
    return (await reader.readline()).split(b" ")[1]


async def test_an_incomplete_request_times_out() -> None:
    async with serving() as (_, port):
        for half in (b"", b"GET", b"GET / HTTP/1.1\r\nhost: x\r\n", b"\r\n"):
            reader, _writer = await said(port, half)
            assert await is_ended(reader), half


async def test_slow_headers_do_not_extend_the_timeout() -> None:
    async with serving() as (_, port):
        reader, writer = await said(port, b"GET / HTTP/1.1\r\n")

        async def drip() -> None:
            while True:
                writer.write(b"a: b\r\n")
                await asyncio.sleep(0.05)  # What an attacker does.

        dripping = asyncio.create_task(drip())
        assert await is_ended(reader)
        dripping.cancel()


async def test_the_second_request_of_a_connection_has_the_same_timeout() -> None:
    async with serving() as (_, port):
        reader, writer = await said(port, GET)
        assert await status_of((reader, writer)) == b"200"
        writer.write(b"GET / HT")
        await reader.readuntil(b"\r\n\r\n0")
        assert await is_ended(reader)


async def test_an_idle_connection_between_requests_stays_open() -> None:
    async with serving() as (_, port):
        reader, writer = await said(port, GET)
        await reader.readuntil(b"\r\n\r\n0")
        await asyncio.sleep(3 * TIGHT.header_seconds)  # The bound must not be there.
        writer.write(GET)
        assert await status_of((reader, writer)) == b"200"


async def test_a_connection_that_waits_for_a_response_stays_open() -> None:
    async with serving() as (app, port):
        streams = await said(port, GET.replace(b"/ ", b"/wait "))
        await asyncio.sleep(3 * TIGHT.header_seconds)  # The bound must not be there.
        app.go.set()
        assert await status_of(streams) == b"200"


async def test_connections_of_a_client_are_limited_and_released() -> None:
    async with serving(replace(TIGHT, header_seconds=30)) as (_, port):
        mine = [await connected(port) for _ in range(TIGHT.of_peer)]
        reader, _writer = await connected(port)
        assert await is_ended(reader)
        for _, writer in mine:
            writer.close()
            await writer.wait_closed()
        while True:
            try:
                if await status_of(await said(port, GET)) == b"200":
                    break
            except (IndexError, ConnectionError):
                await asyncio.sleep(0.01)  # The server hears of it soon.


async def test_concurrent_requests_of_a_client_are_limited() -> None:
    async with serving() as (app, port):
        waiting = [
            await said(port, GET.replace(b"/ ", b"/wait ")) for _ in range(TIGHT.requests_of_peer)
        ]
        while await status_of(await said(port, GET)) != b"429":
            pass
        app.go.set()
        assert {await status_of(one) for one in waiting} == {b"200"}
        assert await status_of(await said(port, GET)) == b"200"


async def test_a_body_that_is_too_large_or_too_slow_is_not_read() -> None:
    async with serving() as (app, port):
        head = b"POST / HTTP/1.1\r\nhost: x\r\n"
        large = await said(port, head + b"content-length: 1001\r\n\r\n")
        assert await status_of(large) == b"413"
        chunked = head + b"transfer-encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n"
        await said(port, chunked + b"1\r\nx\r\n")
        await said(port, head + b"content-length: 10\r\n\r\nx")
        while app.left < 2:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0.01)
        fine = await said(port, head + b"content-length: 1000\r\n\r\n" + b"x" * 1000)
        assert await status_of(fine) == b"200"


async def test_a_body_that_arrives_while_the_server_is_starved_is_in_time() -> None:
    async with serving() as (app, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
        await reading(app)
        writer.write(b"abc")
        # The loop of client and server stands still for longer than a body may be silent.
        time.sleep(TIGHT.body_silence_seconds * 2)  # noqa: ASYNC251
        answer = await reader.read(100)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        writer.close()
    assert app.left == 0


async def reading(app: App) -> None:
    """Wait until the app has asked for a body."""
    while not app.asked:  # noqa: ASYNC110 - it sets no event
        await asyncio.sleep(0.01)
