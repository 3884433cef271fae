"""The bridge: messages pass unchanged, and nothing that fails takes the session with it."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from agentrun.cli.bridge.exchange import PATIENCE, RetryPolicy
from agentrun.cli.bridge.session import serve
from agentrun.cli.bridge.stdio import Wire
from agentrun.cli.commands.mcp import _check
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import CliError
from agentrun.kube.resources import PODS
from tests.unit.cli.fake_cluster import FakeCluster, Json, pod, reply
from tests.waiting import LATE_SECONDS

WORDS = "jane is not authorized to use this AgentRun"
INITIALIZE = {"protocolVersion": "2025-06-18", "capabilities": {}}


async def not_let_in(_: web.Request) -> web.StreamResponse:
    error = {"code": 403, "message": WORDS}
    return web.json_response({"jsonrpc": "2.0", "id": None, "error": error}, status=403)


class Client:
    """An MCP client at the other ends of the pipes."""

    def __init__(self, reading: int, writing: int) -> None:
        self._file = os.fdopen(reading, "rb")
        self._writing = writing

    def send(self, method: str, request_id: Any = None, **params: Any) -> None:
        message: Json = {"jsonrpc": "2.0", "method": method, "params": params}
        if request_id is not None:
            message["id"] = request_id
        os.write(self._writing, json.dumps(message).encode() + b"\n")

    async def receive(self) -> Json:
        line = await asyncio.wait_for(asyncio.to_thread(self._file.readline), LATE_SECONDS)
        found: Json = json.loads(line)
        return found

    async def call(self, method: str, request_id: Any = 1, **params: Any) -> Json:
        self.send(method, request_id, **params)
        return await self.receive()

    def leave(self) -> None:
        os.close(self._writing)

    def close(self) -> None:
        self._file.close()


@asynccontextmanager
async def bridged(
    options: ConnectionOptions, patience: RetryPolicy = PATIENCE
) -> AsyncIterator[Client]:
    """Run the bridge, and see that it ends when its client does."""
    to_bridge, to_client = os.pipe(), os.pipe()
    client = Client(to_client[0], to_bridge[1])
    serving = asyncio.create_task(serve(Wire(to_bridge[0], to_client[1]), options, patience))
    try:
        yield client
    finally:
        client.leave()
        await asyncio.wait_for(serving, LATE_SECONDS)
        os.close(to_bridge[0])
        os.close(to_client[1])
        client.close()


async def test_requests_and_answers_pass_unchanged(cluster: FakeCluster) -> None:
    async with bridged(cluster.options()) as client:
        answer = await client.call("tools/call", "x", name="spawn_run", arguments={"ä": [1, None]})
    params = {"name": "spawn_run", "arguments": {"ä": [1, None]}}
    assert answer == {"jsonrpc": "2.0", "id": "x", "result": params}
    assert cluster.messages == [
        {"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": params}
    ]
    assert cluster.headers[0]["authorization"] == "Bearer team-a-1"


async def test_the_negotiated_version_is_sent_with_every_message(cluster: FakeCluster) -> None:
    async with bridged(cluster.options()) as client:
        await client.call("initialize", **INITIALIZE)
        await client.call("ping", 2)
    assert "mcp-protocol-version" not in cluster.headers[0]
    assert cluster.headers[1]["mcp-protocol-version"] == "2025-06-18"


async def test_progress_precedes_its_response(cluster: FakeCluster) -> None:
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for part in (progress, reply(await request.json(), done=True)):
            await response.write(
                f": ping\r\n\r\nevent: message\r\ndata: {json.dumps(part)}\r\n\r\n".encode()
            )
        return response

    cluster.answer = answer
    async with bridged(cluster.options()) as client:
        assert await client.call("tools/call") == progress
        assert (await client.receive())["result"] == {"done": True}


async def test_calls_run_concurrently(cluster: FakeCluster) -> None:
    arrived = asyncio.Barrier(8)

    async def answer(request: web.Request) -> web.StreamResponse:
        await arrived.wait()
        return web.json_response(reply(await request.json()))

    cluster.answer = answer
    async with bridged(cluster.options()) as client:
        for number in range(8):
            client.send("tools/call", number, n=number)
        answers = [await client.receive() for _ in range(8)]
    assert sorted(one["result"]["n"] for one in answers) == list(range(8))


async def test_large_messages_pass_both_ways(cluster: FakeCluster) -> None:
    text = "x" * 900_000
    async with bridged(cluster.options()) as client:
        waiting = asyncio.create_task(client.receive())
        await asyncio.to_thread(client.send, "tools/call", 1, text=text)
        assert (await waiting)["result"]["text"] == text


async def test_a_cancelled_call_is_aborted_and_not_answered(cluster: FakeCluster) -> None:
    begun = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        if message["method"] == "tools/call":
            begun.set()
            await asyncio.sleep(60)  # A tool that does not answer.
        return web.json_response(reply(message))

    cluster.answer = answer
    async with bridged(cluster.options()) as client:
        client.send("tools/call", 7)
        await asyncio.wait_for(begun.wait(), LATE_SECONDS)
        client.send("notifications/cancelled", requestId=7)
        await asyncio.wait_for(cluster.given_up.wait(), LATE_SECONDS)
        assert (await client.call("ping", 8))["id"] == 8


async def test_an_interrupted_call_is_reported_and_the_session_continues(
    cluster: FakeCluster,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        if message["id"] == 1:
            assert request.transport is not None
            request.transport.close()
        return web.json_response(reply(message))

    cluster.answer = answer
    async with bridged(cluster.options()) as client:
        broken = await client.call("tools/call", 1, name="poll_events")
        assert (await client.call("tools/call", 2, name="poll_events"))["result"]
    assert "broke during tools/call poll_events" in broken["error"]["message"]
    assert "in a few seconds" in broken["error"]["message"]
    assert [one["id"] for one in cluster.messages] == [1, 2], "it must not be repeated by itself"


async def test_another_pod_is_used_when_one_does_not_respond(cluster: FakeCluster) -> None:
    async with bridged(cluster.options()) as client:
        await client.call("ping", 1)
        cluster.refusing = {"front-1"}
        cluster.have(PODS, pod("front-2"))
        assert (await client.call("ping", 2))["id"] == 2
        cluster.refusing = {"front-2"}
        client.send("ping", 3)
        for _ in range(2):
            assert await asyncio.wait_for(cluster.refused.get(), LATE_SECONDS) == "front-2"
        cluster.refusing = set()
        assert (await client.receive())["result"] == {}
    assert [one["id"] for one in cluster.messages] == [1, 2, 3]


async def test_an_mcp_server_that_is_not_ready_is_reported_after_a_while(
    cluster: FakeCluster,
) -> None:
    cluster.have(PODS, pod(conditions=[]))
    async with bridged(cluster.options(), RetryPolicy(start=0.1)) as client:
        refused = await client.call("initialize", **INITIALIZE)
        cluster.have(PODS, pod())
        assert (await client.call("initialize", 2, **INITIALIZE))["result"] == INITIALIZE
    assert "has no ready pod" in refused["error"]["message"]


async def test_a_missing_right_is_reported_at_once_and_may_be_granted_later(
    cluster: FakeCluster,
) -> None:
    async with bridged(cluster.options()) as client:
        cluster.denied = {"portforward"}
        refused = await client.call("tools/list")
        cluster.denied = set()
        assert "result" in await client.call("tools/list", 2)
    assert (
        "kubectl create rolebinding agentrun-user -n agentrun-system" in refused["error"]["message"]
    )


async def test_a_refused_token_is_renewed_and_the_call_repeated(cluster: FakeCluster) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers["authorization"].endswith("-1"):
            return web.json_response({"error": "invalid_token"}, status=401)
        return web.json_response(reply(await request.json()))

    cluster.answer = answer
    async with bridged(cluster.options()) as client:
        assert "result" in await client.call("tools/list")
    assert cluster.tokens_made == 2


async def test_a_refused_configured_token_is_reported(cluster: FakeCluster) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "invalid_token"}, status=401)

    cluster.answer = answer
    url = f"http://127.0.0.1:{cluster.front_port}"
    async with bridged(ConnectionOptions(url=url, token="old")) as client:
        refused = await client.call("tools/list")
    assert "does not accept the token" in refused["error"]["message"]
    assert "AGENTRUN_TOKEN" in refused["error"]["message"]


@pytest.mark.parametrize("method", ["initialize", "tools/call"])
async def test_an_unauthorized_user_gets_the_error_of_the_mcp_server(
    cluster: FakeCluster, method: str
) -> None:
    cluster.answer = not_let_in
    async with bridged(cluster.options()) as client:
        assert (await client.call(method))["error"]["message"] == WORDS
    assert cluster.tokens_made == 1


async def test_a_check_detects_an_unauthorized_user(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    await _check(cluster.options())
    assert "AgentRun is ready" in capsys.readouterr().out
    cluster.answer = not_let_in
    with pytest.raises(CliError, match=f"is ready, but rejects your requests: {WORDS}"):
        await _check(cluster.options())


async def test_an_error_of_the_server_passes_unchanged(cluster: FakeCluster) -> None:
    error = {"code": -32601, "message": "Method not found"}

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"jsonrpc": "2.0", "id": None, "error": error}, status=404)

    cluster.answer = answer
    async with bridged(cluster.options()) as client:
        assert await client.call("odd/method", 5) == {"jsonrpc": "2.0", "id": 5, "error": error}


async def test_a_request_to_a_busy_server_is_retried(cluster: FakeCluster) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if len(cluster.messages) == 1:
            return web.json_response({"error_description": "later"}, status=503)
        return web.json_response(reply(await request.json()))

    cluster.answer = answer
    async with bridged(cluster.options()) as client:
        assert "result" in await client.call("tools/list")


async def test_an_invalid_message_is_answered_and_the_session_continues(
    cluster: FakeCluster,
) -> None:
    async with bridged(cluster.options()) as client:
        os.write(client._writing, b"nonsense\n\n")
        assert (await client.receive())["error"]["code"] == -32700
        assert "result" in await client.call("ping")


async def test_the_bridge_ends_with_its_client_in_the_middle_of_a_call(
    cluster: FakeCluster,
) -> None:
    begun = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        begun.set()
        await asyncio.sleep(60)  # An MCP server that does not answer.
        raise AssertionError

    cluster.answer = answer
    async with bridged(cluster.options()) as client:
        client.send("tools/call", 1)
        await asyncio.wait_for(begun.wait(), LATE_SECONDS)
    await asyncio.wait_for(cluster.given_up.wait(), LATE_SECONDS)
