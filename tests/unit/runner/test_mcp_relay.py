"""The agent's way to AgentRun's own tools."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from acp.schema import McpCapabilities

from agentrun.api.gateway import MAX_MCP_BYTES
from agentrun.runner.acp.mcp_servers import own_server
from agentrun.runner.gateway import Gateway, GatewayRefusedError, GatewayUnavailableError
from agentrun.runner.mcp_relay import McpRelay, ToolCallError
from tests.unit.runner.harness import FakeGateway, a_gateway, pod, serve

SAYS = {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}


@asynccontextmanager
async def tools_at(gateway: FakeGateway, tmp_path: Path) -> AsyncIterator[McpRelay]:
    token = tmp_path / "token"
    token.write_text("token-of-the-pod")
    async with serve(gateway.app()) as url, Gateway(url, token, lambda _: None) as client:
        yield McpRelay(client)


async def test_requests_of_the_agent_are_forwarded_to_the_gateway_unchanged(tmp_path: Path) -> None:
    gateway = a_gateway()
    gateway.tools = lambda said: {"jsonrpc": "2.0", "id": said["id"], "result": {"tools": []}}
    body = b' {"id":7,  "jsonrpc":"2.0","method":"tools/list"}\n'
    headers = {"Mcp-Protocol-Version": "2025-06-18", "Authorization": "Bearer mine", "Cookie": "a"}
    async with (
        tools_at(gateway, tmp_path) as tools,
        tools.serve(0, "/secret/mcp") as url,
        aiohttp.ClientSession() as http,
        http.post(url, data=body, headers=headers) as answer,
    ):
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        assert '"result": {"tools": []}' in await answer.text()
    assert gateway.heard == [body]
    (heard,) = gateway.heard_headers
    assert heard["authorization"] == "Bearer token-of-the-pod"
    assert heard["mcp-protocol-version"] == "2025-06-18"
    assert "cookie" not in heard


async def test_only_post_requests_are_forwarded(tmp_path: Path) -> None:
    gateway = a_gateway()
    async with (
        tools_at(gateway, tmp_path) as tools,
        tools.serve(0, "/secret/mcp") as url,
        aiohttp.ClientSession() as http,
    ):
        assert (await http.get(url)).status == 405
        assert (await http.post(url.replace("/mcp", "/v1/task"))).status == 404
    assert gateway.heard == []


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65536


@pytest.mark.parametrize("in_chunks", [True, False])
async def test_the_size_of_a_message_is_limited(tmp_path: Path, in_chunks: bool) -> None:
    gateway = a_gateway()
    async with (
        tools_at(gateway, tmp_path) as tools,
        tools.serve(0, "/secret/mcp") as url,
        aiohttp.ClientSession() as http,
    ):
        body = endless() if in_chunks else io.BytesIO(b"x" * (MAX_MCP_BYTES + 1))
        answer = await http.post(url, data=body)
        assert answer.status == 413
    assert gateway.heard == []


async def test_an_unavailable_gateway_is_reported_with_the_next_step(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    async with (
        Gateway("http://127.0.0.1:1", token, lambda _: None) as client,
        McpRelay(client).serve(0, "/secret/mcp") as url,
        aiohttp.ClientSession() as http,
        http.post(url, json=SAYS) as answer,
    ):
        assert answer.status == 503
        assert "Try again in a few seconds" in await answer.text()


async def test_the_agent_is_not_asked_to_log_in(tmp_path: Path) -> None:
    gateway = a_gateway()
    async with tools_at(gateway, tmp_path) as tools, aiohttp.ClientSession() as http:
        (tmp_path / "token").write_text("another")
        async with tools.serve(0, "/secret/mcp") as url, http.post(url, json=SAYS) as answer:
            assert answer.status == 502


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (
            {"result": {"isError": True, "content": [{"text": "No such agent."}]}},
            ToolCallError,
            "No ",
        ),
        ({"error": {"code": -32602, "message": "bad"}}, ToolCallError, "bad"),
        ({"method": "notifications/progress"}, GatewayRefusedError, "did not answer"),
        ({"result": {}}, GatewayRefusedError, "cannot be read"),
    ],
)
async def test_the_runner_receives_the_reason_of_a_failed_tool(
    tmp_path: Path, said: dict[str, Any], error: type[Exception], words: str
) -> None:
    gateway = a_gateway()
    gateway.tools = lambda _: said
    async with tools_at(gateway, tmp_path) as tools:
        with pytest.raises(error, match=words):
            await tools.call("list_agents", {})


async def test_the_runner_calls_a_tool(tmp_path: Path) -> None:
    gateway = a_gateway()
    gateway.tools = lambda said: {"result": {"structuredContent": said["params"]}}
    async with tools_at(gateway, tmp_path) as tools:
        called = await tools.call("list_agents", {"cwd": "x"})
        assert called == {"name": "list_agents", "arguments": {"cwd": "x"}}
        gateway.away = True
        with pytest.raises(GatewayUnavailableError, match="503"):
            await tools.call("list_agents", {})


@pytest.mark.parametrize(
    ("offered", "given"),
    [(None, 0), (McpCapabilities(), 0), (McpCapabilities(http=True), 1)],
)
def test_agents_that_take_servers_over_http_get_the_tools(
    offered: McpCapabilities | None, given: int
) -> None:
    assert len(own_server("agentrun", "http://127.0.0.1:8791/mcp", offered)) == given


@pytest.mark.parametrize(
    ("profile", "names"),
    [
        pytest.param({}, ["agentrun"], id="by-default"),
        pytest.param({"agentTools": {"allowed": []}}, [], id="none-allowed"),
        pytest.param(
            {"mcpServers": [{"name": "agentrun", "command": "own"}]}, ["agentrun"], id="own"
        ),
    ],
)
@pytest.mark.slow
async def test_the_agent_gets_the_tools_as_an_mcp_server_unless_the_profile_forbids_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    profile: dict[str, Any],
    names: list[str],
) -> None:
    monkeypatch.setenv("ACP_AGENT_MCP", "http")
    gateway = a_gateway(["servers"])
    gateway.profile = gateway.profile.model_validate({"backend": "acp", "image": "none", **profile})
    async with pod(tmp_path, gateway) as running:
        await running.ended()
    (said,) = gateway.data("agent_message")
    servers = json.loads(said["text"])
    assert [one["name"] for one in servers] == names
    assert all(("command" in one) == bool(profile) for one in servers)
