import asyncio

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mcp_server.http.shutdown import CloseWhenLeaving, Shutdown


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


@pytest.mark.parametrize("leaving", [False, True])
async def test_connections_are_closed_only_during_shutdown(leaving: bool) -> None:
    shutdown = Shutdown()
    if leaving:
        shutdown.leaving.set()
    app = CloseWhenLeaving(Starlette(routes=[Route("/", hello)]), shutdown.leaving)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
        answer = await http.get("/")
    assert (answer.text, answer.headers.get("connection") == "close") == ("hello", leaving)


async def test_a_process_stops_some_time_after_shutdown_began() -> None:
    shutdown = Shutdown(drain_seconds=0.02)
    running = asyncio.create_task(shutdown.run())
    shutdown.leaving.set()
    await asyncio.sleep(0)  # So that it has begun to leave.
    assert not shutdown.stopping.is_set()
    await running
    assert shutdown.stopping.is_set()


async def test_a_failure_stops_the_process_without_delay() -> None:
    shutdown = Shutdown(drain_seconds=600)
    shutdown.end_now()
    assert shutdown.leaving.is_set()
    assert shutdown.stopping.is_set()
