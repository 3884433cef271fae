"""Older clients subscribe; the bridge listens for them."""

import asyncio
import json

from aiohttp import web

from tests.unit.cli.fake_cluster import FakeCluster, Json, reply
from tests.unit.cli.test_bridge import INITIALIZE, bridged
from tests.waiting import LATE_SECONDS

URI = "agentrun://agents/runs/run-1"
UPDATED = {
    "jsonrpc": "2.0",
    "method": "notifications/resources/updated",
    "params": {"uri": URI},
}


def told(method: str) -> Json:
    params = {"uri": URI, "_meta": {"io.modelcontextprotocol/subscriptionId": "agentrun-1"}}
    return {"jsonrpc": "2.0", "method": f"notifications/{method}", "params": params}


class Listening:
    """An MCP server that tells of one change each time that it is listened to."""

    def __init__(self, *, stays: bool = True) -> None:
        self.stays = stays

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        if message["method"] != "subscriptions/listen":
            resources = {"resources": {"subscribe": False, "listChanged": False}}
            return web.json_response(reply(message, capabilities=resources))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for part in (told("subscriptions/acknowledged"), told("resources/updated")):
            await response.write(f"event: message\r\ndata: {json.dumps(part)}\r\n\r\n".encode())
        if self.stays:
            await asyncio.Event().wait()
        return response


async def test_a_subscription_listens_until_it_is_cancelled(cluster: FakeCluster) -> None:
    cluster.answer = Listening()
    async with bridged(cluster.options()) as client:
        greeting = await client.call("initialize", **INITIALIZE)
        assert greeting["result"]["capabilities"]["resources"]["subscribe"] is True
        answer = await client.call("resources/subscribe", 2, uri=URI)
        assert answer == {"jsonrpc": "2.0", "id": 2, "result": {}}
        assert await client.receive() == UPDATED
        asked = cluster.messages[-1]
        assert asked["params"]["notifications"] == {"resourceSubscriptions": [URI]}
        assert cluster.headers[-1]["mcp-protocol-version"] == "2026-07-28"
        assert cluster.headers[-1]["mcp-method"] == "subscriptions/listen"
        assert (await client.call("resources/subscribe", 3, uri=URI))["result"] == {}
        assert (await client.call("resources/unsubscribe", 4, uri=URI))["result"] == {}
        await asyncio.wait_for(cluster.given_up.wait(), LATE_SECONDS)
    assert len(cluster.messages) == 2, "subscribed to twice is listened for once"


async def test_after_a_rollout_the_client_is_notified_to_read_again(cluster: FakeCluster) -> None:
    cluster.answer = Listening(stays=False)
    async with bridged(cluster.options()) as client:
        assert (await client.call("resources/subscribe", 1, uri=URI))["result"] == {}
        # The change that was told; then that something may have been missed, and the next.
        assert [await client.receive() for _ in range(3)] == [UPDATED] * 3


async def test_an_impossible_subscription_is_refused(cluster: FakeCluster) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        error = {"code": -32602, "message": "Unknown run_id: run-1"}
        message = await request.json()
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error})

    cluster.answer = refuse
    async with bridged(cluster.options()) as client:
        answer = await client.call("resources/subscribe", 7, uri=URI)
        assert (answer["id"], answer["error"]["message"]) == (7, "Unknown run_id: run-1")
        cluster.answer = Listening()
        assert (await client.call("resources/subscribe", 8, uri=URI))["result"] == {}


async def test_subscriptions_of_newer_clients_pass_unchanged(cluster: FakeCluster) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    async with bridged(cluster.options()) as client:
        await client.call("resources/subscribe", 1, uri=URI, _meta=meta)
    assert [one["method"] for one in cluster.messages] == ["resources/subscribe"]
