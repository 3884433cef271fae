"""What the kubelet is told of the operator."""

import socket

import aiohttp

from agentrun.controller.health import serve_health


async def ask(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_an_operator_that_waits_is_alive_and_says_what_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alive, not_ready_reason = [True], ["404: no such kind"]
    async with serve_health(port, lambda: alive[0], lambda: not_ready_reason[0]):
        assert (await ask(port, "/healthz"))[0] == 200
        status, body = await ask(port, "/readyz")
        assert status == 503
        assert "no such kind" in body
        not_ready_reason[0] = ""
        assert (await ask(port, "/readyz"))[0] == 200
        alive[0] = False
        assert (await ask(port, "/healthz"))[0] == 503
