"""The way to the model's provider, and what its refusals mean for a run."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from agentrun.api import pod_layout
from agentrun.api.v1alpha1 import AgentProfileSpec, AgentState, Input, OutcomeState
from agentrun.runner.provider.proxy import ProviderError, ProviderProxy
from agentrun.runner.provider.rules import Rules
from tests.unit.runner.harness import FakeGateway, a_gateway, pod, prepare, serve, write
from tests.waiting import LATE_SECONDS

# What the sockets of two connections may hold between them.
_SOCKETS = 32 * 1024 * 1024

CAPABILITY = "known-to-the-agent"

# An agent whose only work is one request to its provider.
AGENT = """
import json, os, sys, urllib.request, urllib.error
for line in sys.stdin:
    asked = json.loads(line)
    answer = {"result": {"protocolVersion": 1, "sessionId": "s", "stopReason": "end_turn"}}
    if asked["method"] == "session/prompt":
        request = urllib.request.Request(os.environ["PROVIDER_URL"] + "/v1/messages", b"{}")
        try:
            content = {"type": "text", "text": urllib.request.urlopen(request).read().decode()}
            update = {"sessionUpdate": "agent_message_chunk", "content": content}
            params = {"sessionId": "s", "update": update}
            print(json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params}))
        except urllib.error.HTTPError as error:
            answer = {"error": {"code": -32603, "message": f"it failed: {error.code}"}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
"""


class Provider:
    """A provider that takes one key."""

    def __init__(self) -> None:
        self.key: str | None = "right-key"
        self.seen: list[dict[str, str]] = []
        self.left = asyncio.Event()

    async def messages(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(dict(request.headers))
        await request.read()
        if request.headers.get("x-api-key") != self.key:
            return web.json_response({"error": {"message": "invalid x-api-key"}}, status=401)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await response.write(b"data: 2\n\n")
        return response

    async def endless(self, request: web.Request) -> web.StreamResponse:
        """Answer until nobody listens any more."""
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        except ConnectionError:
            self.left.set()
        return response

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/messages", self.messages)
        app.router.add_post("/v1/messages/count_tokens", self.endless)
        return app


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def a_proxy(url: str, credentials: dict[str, str], *more: Any, **spec: Any) -> ProviderProxy:
    """Make the proxy of a run of Claude Code, whose profile says ``spec``."""
    values = {"backend": "claude_code", "image": "none", **spec}
    rules = Rules.of(AgentProfileSpec.model_validate(values), None)
    return ProviderProxy(url, credentials, rules, CAPABILITY, *more)


@asynccontextmanager
async def proxied(
    credentials: dict[str, str],
) -> AsyncIterator[tuple[Provider, ProviderProxy, str]]:
    provider, port = Provider(), free_port()
    async with serve(provider.app()) as url:
        proxy = a_proxy(url, credentials)
        async with proxy.serve(port):
            yield provider, proxy, f"http://127.0.0.1:{port}/{CAPABILITY}/v1/messages"


async def test_proxy_adds_the_key_and_streams_the_response() -> None:
    async with proxied({"x-api-key": "right-key"}) as (provider, proxy, url):
        async with aiohttp.ClientSession() as session:
            headers = {"x-api-key": "placeholder", "authorization": "Bearer placeholder"}
            async with session.post(url, json={}, headers=headers) as answer:
                assert await answer.text() == "data: 1\n\ndata: 2\n\n"
        assert proxy.error is None
        assert "authorization" not in {name.lower() for name in provider.seen[0]}


async def test_proxy_records_the_last_refusal_of_the_provider() -> None:
    async with proxied({"x-api-key": "wrong-key"}) as (provider, proxy, url):
        async with aiohttp.ClientSession() as session:
            async with session.post(url, json={}) as answer:
                assert answer.status == 401
            assert proxy.error == ProviderError(401, "invalid x-api-key")
            assert proxy.refused.is_set()
            provider.key = "wrong-key"
            async with session.post(url, json={}) as answer:
                assert answer.status == 200
        assert proxy.error is None
        assert proxy.refusal == ProviderError(401, "invalid x-api-key")
        proxy.begin_turn()
        assert proxy.refusal is None


async def test_key_is_sent_only_to_the_provider() -> None:
    async with proxied({"x-api-key": "right-key"}) as (_, proxy, url):
        port = URL(url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        # Appended to the provider's address, it would name another host: provider.company.
        writer.write(b"POST pany://x/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert proxy.error is None


async def test_disconnect_of_the_agent_is_no_error_of_the_provider() -> None:
    async with proxied({}) as (provider, proxy, url):
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/count_tokens", json={}) as answer:
                assert await answer.content.readexactly(65_536)
                answer.close()
            await asyncio.wait_for(provider.left.wait(), LATE_SECONDS)
        assert proxy.error is None


async def test_provider_that_always_fails_is_abandoned_after_a_while() -> None:
    now = 0.0
    provider, port = Provider(), free_port()
    async with serve(provider.app()) as url, aiohttp.ClientSession() as session:
        proxy = a_proxy(url, {"x-api-key": "right-key"}, 10.0, lambda: now)

        async def ask() -> bool:
            await session.post(f"http://127.0.0.1:{port}/{CAPABILITY}/v1/messages", json={})
            return proxy.failed.is_set()

        async with proxy.serve(port):
            provider.key = "another"
            assert [await ask() for _ in range(3)] == [False, False, False]
            now = 9.0
            provider.key = "right-key"
            assert not await ask()
            provider.key = "another"
            now = 20.0
            assert [await ask() for _ in range(2)] == [False, False]
            now = 30.0
            assert await ask()
            proxy.begin_turn()
            assert not proxy.failed.is_set()


async def test_provider_that_cannot_be_reached_is_named() -> None:
    port = free_port()
    proxy = a_proxy(f"http://127.0.0.1:{free_port()}", {})
    url = f"http://127.0.0.1:{port}/{CAPABILITY}/v1/messages"
    async with (
        proxy.serve(port),
        aiohttp.ClientSession() as session,
        session.post(url, json={}) as answer,
    ):
        assert answer.status == 502
    assert proxy.error is not None
    assert "cannot be reached" in proxy.error.message


def a_run(**profile: Any) -> FakeGateway:
    gateway = a_gateway(backend="claude_code", prompt="do it")
    values = {"backend": "claude_code", "image": "none", **profile}
    gateway.profile = AgentProfileSpec.model_validate(values)
    return gateway


@pytest.mark.slow
async def test_refused_key_of_a_secret_ends_the_run_and_names_the_secret(tmp_path: Path) -> None:
    prepare(tmp_path)
    write(tmp_path, pod_layout.PROVIDER_KEY_FILE, "wrong-key")
    gateway = a_run(provider={"keySecret": {"name": "anthropic", "key": "api-key"}})
    port = free_port()
    command = [sys.executable, "-c", AGENT]
    async with (
        serve(Provider().app()) as url,
        pod(tmp_path, gateway, command, provider=url, port=port) as it,
    ):
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.FAILED
    assert gateway.outcome.reason == "AuthRequired"
    assert "Secret anthropic, key api-key: 401: invalid x-api-key" in str(gateway.outcome.message)
    # Nobody is asked: between such an event and the end, an answer would be taken in vain.
    assert "auth_required" not in gateway.types
    [failed] = gateway.data("run_failed")
    assert (failed["reason"], failed["message"]) == ("AuthRequired", gateway.outcome.message)


@pytest.mark.slow
async def test_refused_key_of_the_agent_itself_is_requested_from_the_user(tmp_path: Path) -> None:
    gateway, provider, port = a_run(), Provider(), free_port()
    provider.key = "other"
    command = [sys.executable, "-c", AGENT]
    async with (
        serve(provider.app()) as url,
        pod(tmp_path, gateway, command, provider=url, port=port) as it,
    ):
        await gateway.until(
            lambda: gateway.states and gateway.states[-1].state is AgentState.AUTH_REQUIRED
        )
        question = gateway.states[-1].question
        assert question is not None
        assert "invalid x-api-key" in question.text
        # The agent sends no key at all: now the provider takes that.
        provider.key = None
        message = {"parts": [{"type": "text", "text": "fixed"}]}
        answer = {"seq": 1, "questionId": question.id, "message": message}
        gateway.inputs.append(Input.model_validate(answer))
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.COMPLETED
    assert gateway.states[-1].acknowledged_input == 1
    assert gateway.states[-1].question is None


async def _stands_still(passed: list[int]) -> int:
    """Wait until no more passes, and return how much did."""
    while True:
        before = sum(passed)
        await asyncio.sleep(0.3)  # Nothing tells that nothing happens.
        if sum(passed) == before > 0:
            return before


async def test_unread_response_is_not_buffered() -> None:
    passed: list[int] = []

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)
            passed.append(65_536)

    app, port = web.Application(), free_port()
    app.router.add_get("/v1/models", endless)
    async with serve(app) as provider, a_proxy(provider, {}).serve(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(f"GET /{CAPABILITY}/v1/models HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readline()
        assert await asyncio.wait_for(_stands_still(passed), LATE_SECONDS) < _SOCKETS
        writer.close()


async def test_endless_request_is_read_up_to_a_limit() -> None:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65_536

    async with proxied({}) as (provider, _, url), aiohttp.ClientSession() as session:
        with suppress(aiohttp.ClientConnectionError):  # It may be told while it still speaks.
            async with session.post(url, data=body()) as answer:
                assert answer.status == 413
        assert provider.seen == []
