"""The HTTP client for remote agents: to whom credentials go, and how much is read."""

import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web

from agentrun.runner.a2a import client as client_module
from agentrun.runner.a2a.errors import RemoteError, explained
from tests.unit.runner.harness import serve

SECRET = {"x-secret": "s"}


async def _shown(request: web.Request) -> web.Response:
    return web.Response(text=request.headers.get("x-secret", "nothing"))


async def _moved(_: web.Request) -> web.Response:
    raise web.HTTPTemporaryRedirect("http://elsewhere.example/")


async def _large(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    piece = b"x" * 65_536 + (b"\n" if "lines" in request.query else b"")
    for _ in range(client_module.MESSAGE_BOUND // 65_536 + 1):
        await answer.write(piece)
    return answer


async def _packed(_: web.Request) -> web.Response:
    return web.Response(body=gzip.compress(b"x"), headers={"content-encoding": "gzip"})


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application()
    for name, handler in (
        ("shown", _shown), ("moved", _moved), ("large", _large), ("packed", _packed),
    ):  # fmt: skip
        app.router.add_get(f"/{name}", handler)
    async with serve(app) as served:
        yield served


async def ask(url: str, agent: str) -> Any:
    async with client_module.make_http_client(SECRET, agent) as client:
        with explained():
            response = await client.get(url)
            response.raise_for_status()
            return response


async def test_credentials_are_sent_to_the_agent(url: str) -> None:
    assert (await ask(f"{url}/shown", f"{url}/agent")).text == "s"


async def test_credentials_are_sent_nowhere_else(url: str) -> None:
    assert (await ask(f"{url}/shown", url.replace("127.0.0.1", "localhost"))).text == "nothing"
    assert (await ask(f"{url}/shown", url.replace("http:", "https:"))).text == "nothing"


async def test_redirect_is_not_followed_but_named(url: str) -> None:
    with pytest.raises(RemoteError, match="answered 307, a redirect to http://elsewhere") as it:
        await ask(f"{url}/moved", url)
    assert it.value.is_final


async def test_too_large_response_is_refused_and_a_long_stream_is_not(url: str) -> None:
    with pytest.raises(RemoteError, match="larger than 8388608 bytes") as it:
        await ask(f"{url}/large", url)
    assert it.value.is_final
    assert len((await ask(f"{url}/large?lines", url)).content) > client_module.MESSAGE_BOUND


async def test_compressed_response_is_refused(url: str) -> None:
    with pytest.raises(RemoteError, match=r"compressed \(gzip\)"):
        await ask(f"{url}/packed", url)


async def test_unreachable_agent_was_sent_nothing() -> None:
    with pytest.raises(RemoteError) as it:
        await ask("http://127.0.0.1:9/", "http://127.0.0.1:9/")
    assert not it.value.was_sent
    assert not it.value.is_final


async def test_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", url)
    monkeypatch.setenv("NO_PROXY", "")
    # The proxy is asked for a URL of another host; this one serves it as if it were its own.
    answer: httpx.Response = await ask("http://agent.invalid/shown", "http://agent.invalid")
    assert answer.text == "s"
