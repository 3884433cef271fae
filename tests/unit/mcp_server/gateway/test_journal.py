"""Appending events, and blobs."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentrun.api.events import MAX_EVENT_BYTES
from agentrun.api.gateway import MAX_APPEND_BYTES, MAX_BATCH, MAX_BLOB_BYTES
from agentrun.store.base import JournalHead
from mcp_server.gateway import requests
from tests.contract.builders import TS
from tests.unit.mcp_server.gateway.conftest import World


def event(seq: int, **more: Any) -> dict[str, Any]:
    plain = {"event_id": f"e-{seq}", "ts": TS, "type": "agent_message", "data": {"text": "hi"}}
    return {"seq": seq, **plain, **more}


def batch(first: int, last: int) -> dict[str, Any]:
    return {"events": [event(seq) for seq in range(first, last + 1)]}


async def endless(counted: list[int]) -> AsyncIterator[bytes]:
    while True:
        counted[0] += 1
        yield b"x" * 1_000_000


async def test_events_are_appended_and_the_head_is_reported(world: World) -> None:
    answer = await world.call("POST", "/v1/events", batch(1, 3))
    assert answer.json() == {"last_seq": 3, "sealed": False}
    assert (await world.call("GET", "/v1/head")).json() == {"last_seq": 3, "sealed": False}
    assert [stored.seq for stored in await world.store.read("uid-1", 0, 9)] == [1, 2, 3]


async def test_a_batch_that_is_sent_twice_is_stored_once(world: World) -> None:
    for _ in range(2):
        answer = await world.call("POST", "/v1/events", batch(1, MAX_BATCH))
        assert answer.json() == {"last_seq": MAX_BATCH, "sealed": False}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"events": [event(2, event_id="other")]}, id="other-event"),
        pytest.param(batch(5, 5), id="gap"),
    ],
)
async def test_a_conflict_returns_the_head(world: World, body: Any) -> None:
    await world.call("POST", "/v1/events", batch(1, 3))
    answer = await world.call("POST", "/v1/events", body)
    assert answer.status_code == 409
    assert (answer.json()["error"], answer.json()["last_seq"]) == ("conflict", 3)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param(b"", "Append: ", id="empty"),
        pytest.param(b"{", "Append: ", id="no-json"),
        pytest.param(b"\xff\xfe", "Append: ", id="no-text"),
        pytest.param(b"[]", "Append: ", id="no-object"),
        pytest.param({}, "events", id="no-events"),
        pytest.param({"events": []}, "events", id="empty-list"),
        pytest.param(batch(1, MAX_BATCH + 1), "events", id="too-many"),
        pytest.param({"events": [event(1), event(0)]}, "events.1.seq", id="seq"),
        pytest.param({"events": [event(1, event_id="")]}, "events.0.event_id", id="event-id"),
        pytest.param({"events": [event(1, ts="yesterday")]}, "events.0.ts", id="ts"),
        pytest.param({"events": [event(1, type="Dance!")]}, "events.0.type", id="type"),
        pytest.param({"events": [event(1, data=[])]}, "events.0.data", id="data"),
        pytest.param(
            b'{"events":[{"seq":1,"event_id":"e","ts":"%s","type":"reasoning","data":{"n":NaN}}]}'
            % TS.encode(),
            "Append: events.0.data.n is a number",
            id="nan",
        ),
    ],
)
async def test_invalid_input_is_named_and_not_stored(world: World, body: Any, named: str) -> None:
    answer = await world.call("POST", "/v1/events", body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid")
    assert named in answer.json()["message"]
    assert await world.store.head("uid-1") == JournalHead(0)


async def test_a_too_large_event_is_named_and_its_batch_not_stored(world: World) -> None:
    empty = len(b'{"seq":2,"event_id":"e-2","ts":"","type":"agent_message","data":{"text":""}}')
    fits = "ß" * ((MAX_EVENT_BYTES - empty - len(TS)) // 2)
    body = {"events": [event(1), event(2, data={"text": fits + "ßß"})]}
    answer = await world.call("POST", "/v1/events", body)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert "Event 2 " in answer.json()["message"]
    assert await world.store.head("uid-1") == JournalHead(0)
    body = {"events": [event(1), event(2, data={"text": fits})]}
    assert (await world.call("POST", "/v1/events", body)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/v1/events", MAX_APPEND_BYTES),
        ("PUT", "/v1/blobs/a", MAX_BLOB_BYTES),
        ("POST", "/v1/state", 1_000_000),
        ("POST", "/v1/outcome", 1_000_000),
    ],
)
async def test_a_body_is_read_no_further_than_its_limit(
    world: World, method: str, path: str, limit: int
) -> None:
    counted = [0]
    headers = {"authorization": "Bearer team/run-1-1/pod-1"}
    answer = await world.http.request(method, path, content=endless(counted), headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert counted[0] <= limit // 1_000_000 + 2


async def test_a_body_that_states_it_is_too_large_is_not_read(world: World) -> None:
    counted = [0]
    headers = {
        "authorization": "Bearer team/run-1-1/pod-1",
        "content-length": str(MAX_BLOB_BYTES + 1),
    }
    answer = await world.http.put("/v1/blobs/a", content=endless(counted), headers=headers)
    assert answer.status_code == 413
    assert counted[0] == 0


async def test_a_blob_is_stored_below_its_run(world: World) -> None:
    body = b"diff --git a b"
    answer = await world.call("PUT", "/v1/blobs/artifacts/000008/change.patch", body)
    digest = hashlib.sha256(body).hexdigest()
    assert answer.json() == {
        "name": "artifacts/000008/change.patch",
        "size": len(body),
        "sha256": digest,
    }
    assert await world.blobs.size("runs/uid-1/artifacts/000008/change.patch") == len(body)


async def test_a_blob_may_be_uploaded_again_but_not_replaced(world: World) -> None:
    for body, status in ((b"one", 200), (b"one", 200), (b"two", 409)):
        assert (await world.call("PUT", "/v1/blobs/a", body)).status_code == status
    assert await world.blobs.size("runs/uid-1/a") == 3


@pytest.mark.parametrize(
    "name",
    ["..%2Fother%2Fa", ".hidden", "a//b", "a/", "a/b/c/d/e", "x" * 129, "a%20b"],
)
async def test_a_blob_has_a_plain_name(world: World, name: str) -> None:
    answer = await world.call("PUT", f"/v1/blobs/{name}", b"x")
    assert answer.status_code in (400, 404)
    assert not world.blobs._blobs


async def test_a_full_disk_is_an_error_worth_a_retry(world: World) -> None:
    world.blobs.failure = OSError("No space left on device")
    answer = await world.call("PUT", "/v1/blobs/a", b"x")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    world.blobs.failure = None
    assert (await world.call("PUT", "/v1/blobs/a", b"x")).status_code == 200


async def stalled(begun: asyncio.Event) -> AsyncIterator[bytes]:
    yield b"x"
    begun.set()
    await asyncio.Event().wait()


async def test_stalled_uploads_do_not_delay_others(world: World) -> None:
    begun = [asyncio.Event() for _ in range(10)]
    stalling = [
        asyncio.create_task(world.call("PUT", f"/v1/blobs/{n}", content=stalled(one)))
        for n, one in enumerate(begun)
    ]
    for one in begun:
        await one.wait()
    assert (await world.call("PUT", "/v1/blobs/a", b"x")).status_code == 200
    for task in stalling:
        task.cancel()
    await asyncio.gather(*stalling, return_exceptions=True)


async def test_a_stalled_upload_is_aborted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_SILENCE_SECONDS", 0.05)
    answer = await world.call("PUT", "/v1/blobs/a", content=stalled(asyncio.Event()))
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert "stopped arriving" in answer.json()["message"]


async def test_a_large_blob_arrives_completely(world: World) -> None:
    body = bytes(range(256)) * 4096
    answer = await world.call("PUT", "/v1/blobs/a", body)
    assert answer.json()["sha256"] == hashlib.sha256(body).hexdigest()
    assert world.blobs._blobs["runs/uid-1/a"] == body
