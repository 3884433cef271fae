"""
Agents that say very much, very fast, or what nobody should say: bounded, and nothing is lost.

How much at most, each part is asked by itself: the runner in tests/unit/runner/test_volume.py, the
stores in tests/contract/test_volume.py. Here a tenth of it goes through all of them at once, and
with ``-m full`` all of it.
"""

import asyncio
import base64
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agentrun.api import pod_layout
from agentrun.api.status import TERMINAL_STATUSES
from agentrun.runner.acp.session import PAUSE_SECONDS
from agentrun.runner.journal.sanitize import MAX_EVENT_BYTES
from agentrun.runner.pipe_reader import MAX_LINE
from dev.agent.acp_agent import large_text
from tests.e2e.agents import UNTIL_GO
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, Json, apply, kubectl, let_go, pod_uid, runner_of, until
from tests.e2e.installation import MCP_SERVER, Installation, profile
from tests.e2e.memory import watching
from tests.events import data_of, said
from tests.volume import (
    MEGABYTE,
    MORE_THAN_FITS,
    check_held_up,
    check_tools,
    paced,
    shown,
)

pytestmark = pytest.mark.e2e

FRONT_DOOR_BOUND = 256 * MEGABYTE
RESPONSIVE = 5.0
RATE = 1000


async def ended(platform: Installation, *steps: list[Any], **more: Any) -> tuple[Json, list[Json]]:
    """Run the agent to its end, and hold the runner to its memory."""
    # Before it says anything, so that its runner is seen at work also on a busy machine.
    run_id = await platform.trivial(["sleep", 1], *steps, **more)
    async with watching(await pod_uid(run_id)) as memory:
        run, events = await collect(platform, run_id)
    memory.check()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return run, events


async def collect(platform: Installation, run_id: str) -> tuple[Json, list[Json]]:
    """Follow a run to its end over one connection, in large pages."""
    events: list[Json] = []
    while True:
        after = events[-1]["seq"] if events else 0
        asked = {"run_id": run_id, "after_seq": after, "limit": 1000}
        page = await platform.client.call("poll_events", **asked)
        events += page["events"]
        if page["status"] in TERMINAL_STATUSES and not page["events"]:
            return await platform.client.call("get_run", run_id=run_id), events


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def a_message(text: str, name: str = "raw") -> bytes:
    """A message on the agent's output, whose text is already as it reads inside a JSON string."""
    head = b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"trivial","update":'
    chunk = '{"sessionUpdate":"agent_message_chunk","messageId":"%s","content":%s}'
    content = f'{{"type":"text","text":"{text}"}}'
    line: bytes = (chunk % (name, content)).encode("utf-8", "surrogateescape")
    return head + line + b"}}\n"


@asynccontextmanager
async def another_client(platform: Installation) -> AsyncIterator[list[float]]:
    """Have somebody poll another run meanwhile, and note how long each answer took."""
    run_id = await platform.trivial(["say", "somebody else's"])
    took: list[float] = []
    is_over = asyncio.Event()

    async def ask() -> None:
        while not is_over.is_set():
            begin = time.monotonic()
            await platform.client.call("poll_events", run_id=run_id, after_seq=0, wait_ms=0)
            took.append(time.monotonic() - begin)
            await asyncio.sleep(0.1)  # Between two samples.

    asking = asyncio.create_task(ask())
    try:
        yield took
    finally:
        is_over.set()
        await asking


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "seconds", [pytest.param(6, id="6s"), pytest.param(60, id="60s", marks=pytest.mark.full)]
)
async def test_a_thousand_events_a_second_all_arrive_in_order(
    platform: Installation, seconds: int
) -> None:
    [client] = await platform.pods(MCP_SERVER)
    async with (
        another_client(platform) as took,
        watching(client["metadata"]["uid"], "mcp_server") as memory,
    ):
        run, events = await ended(platform, ["pace", seconds * RATE, RATE])
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert said(events) == paced(seconds * RATE)
    assert memory.peak <= FRONT_DOOR_BOUND, memory
    # The other client asks again when it has its answer: one in three seconds, were each slow.
    assert len(took) > max(5, seconds // 3)
    # A pause of the whole machine is nobody's fault; who is starved waits each time.
    assert sorted(took)[len(took) // 2] < RESPONSIVE, took


async def artifact(platform: Installation, run_id: str, event: Json, field: str) -> bytes:
    """Read an artifact as a client does, piece by piece."""
    content, offset = bytearray(), 0
    while True:
        page = await platform.client.call(
            "get_event_artifact", run_id=run_id, seq=event["seq"], field_path=field,
            offset=offset, limit=256 * 1024,
        )  # fmt: skip
        content += str(page["content"]).encode()
        offset += page["returned_bytes"]
        if not page["has_more"]:
            return bytes(content)


@pytest.mark.parametrize(
    ("where", "kind", "field"),
    [
        pytest.param("message", "agent_message", "/text", id="message"),
        pytest.param("tool", "command_finished", "/output", id="tool", marks=pytest.mark.full),
    ],
)
async def test_sixteen_megabytes_in_one_event_are_stored_completely(
    platform: Installation, where: str, kind: str, field: str
) -> None:
    run, events = await ended(platform, ["large", where, 16_000_000], ["say", "after"])
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    [event] = [one for one in events if one["type"] == kind and "artifact_refs" in one["data"]]
    whole = await artifact(platform, run["run_id"], event, field)
    expected = large_text(16_000_000).encode()
    assert hashlib.sha256(whole).hexdigest() == hashlib.sha256(expected).hexdigest()
    assert max(len(json.dumps(one["data"])) for one in events) <= MAX_EVENT_BYTES
    assert said(events)[-1] == "after"


ODD = {
    "invalid": ("\udcff\udcfe text", "\ufffd\ufffd text"),
    "surrogates": ("half \\ud800 whole \\ud83d\\ude00", "half \ufffd whole \U0001f600"),
    "nul": ("\\u0000 and \x00 raw", "\ufffd and \ufffd raw"),
    "ansi": ("\\u001b[31mred\\u001b[0m \x1b]0;title\x07", "\x1b[31mred\x1b[0m \x1b]0;title\x07"),
    "lines": ("a\u2028b\u2029c\\r\\nd\x85e\x0bf", "a\u2028b\u2029c\r\nd\x85e\x0bf"),
}
NOISE = [
    ["raw", base64_of(b"\x00\xff\xfe\x1b[2J\x9b binary"), 40],
    ["raw", base64_of(b"\r\n"), 3],
    ["raw", base64_of(b"plain print, not a message\r\n"), 40],
    ["raw", base64_of(b"[" * 20_000 + b"\n"), 1],
    ["err", base64_of(b"\xff\x00\x1b[31m warning \x9b" * 1000), 1500],
    ["err", base64_of(b"\n"), 1],
]


async def test_invalid_text_is_stored_and_breaks_no_reader(platform: Installation) -> None:
    messages = [["raw", base64_of(a_message(raw, name)), 1] for name, (raw, _) in ODD.items()]
    run_id = await platform.trivial(*NOISE, *messages, ["say", "after"])
    log = asyncio.create_task(_log(f"{run_id}-1"))
    async with watching(await pod_uid(run_id)) as memory:
        run, events = await collect(platform, run_id)
    memory.check()
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert said(events) == [*(text for _, text in ODD.values()), "after"]
    written = await log
    assert "after" in written
    assert not re.findall(r"[^\t\n -~\xa0-\U0010ffff]|[\u2028\u2029\u202e]", written)


async def _log(pod: str) -> str:
    """Follow the transcript of a run."""
    await until("pod", pod, lambda seen: seen is not None and seen["status"]["phase"] != "Pending")
    return await kubectl("logs", "-f", pod, "-c", "runner", "-n", RUNS)


async def test_deeply_nested_structure_is_stored_as_json(platform: Installation) -> None:
    run, events = await ended(platform, ["deep", 50_000], ["deep", 500_000], ["say", "after"])
    assert run["status"] == "completed", run
    kept = [data for data in data_of(events, "reasoning") if "raw_message" in data]
    sizes = [data["artifact_refs"]["/raw_message"]["total_bytes"] for data in kept]
    assert sizes == [100_000, 1_000_000]
    assert said(events) == ["after"]


async def test_endless_line_ends_the_run_with_the_limit_in_the_message(
    platform: Installation,
) -> None:
    run, events = await ended(platform, ["say", "before"], ["line", 2**50])
    assert (run["status"], run["reason"]) == ("failed", "ProtocolError"), run
    assert f"beyond the limit of {MAX_LINE}" in run["message"]
    check_journal(events, "failed")
    assert said(events) == ["before"]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("megabytes", "count"),
    [
        pytest.param(8, 1000, id="1000"),
        pytest.param(64, 10_000, id="10000", marks=pytest.mark.full),
    ],
)
async def test_tool_calls_in_any_order_start_and_finish(
    platform: Installation, megabytes: int, count: int
) -> None:
    run, events = await ended(platform, ["tools", megabytes, MEGABYTE], ["tools", count, 100])
    assert run["status"] == "completed", run
    check_tools(events, count)
    assert shown(events) == megabytes * MEGABYTE


@pytest.mark.disruptive
@pytest.mark.timeout(240)
async def test_agent_is_paused_while_the_mcp_server_is_unavailable_and_nothing_is_lost(
    platform: Installation,
) -> None:
    run_id = await platform.trivial(
        ["say", "before"], ["run", UNTIL_GO], ["tools", MORE_THAN_FITS, MEGABYTE], ["say", "after"]
    )
    uid = await pod_uid(run_id)
    await platform.reaches(run_id, "Running")
    async with watching(uid) as memory:
        await platform.scale(MCP_SERVER, 0)
        try:
            await let_go(run_id)
            pid = await runner_of(uid)
            await check_held_up(Path(f"/proc/{pid}/root{pod_layout.SPOOL}/events"))
        finally:
            await platform.scale(MCP_SERVER, 1)
        run, events = await collect(platform, run_id)
    memory.check()
    assert run["status"] == "completed", run
    assert said(events) == ["before", "after"]
    assert len(data_of(events, "command_started")) == len(data_of(events, "command_finished"))
    assert shown(events) == MORE_THAN_FITS * MEGABYTE


async def test_secret_value_split_over_chunks_does_not_leak(platform: Installation) -> None:
    value = "s3cr3t-value-of-the-test"
    secret = {
        "apiVersion": "v1", "kind": "Secret", "stringData": {"key": value},
        "metadata": {"name": "events-secret", "namespace": RUNS},
    }  # fmt: skip
    env = [{"name": "KEY", "secret": {"name": "events-secret", "key": "key"}}]
    await apply(secret, profile("events-secret", env=env))
    pieces = [value[:5], value[5:9], value[9:] + ", that is it"]
    chunks = [["raw", base64_of(a_message(piece, "one")), 1] for piece in pieces]
    large = ["raw", base64_of(a_message(value * 100, "two")), 1]
    terminal = ["run", f"printf '{value[:9]}'; sleep 0.1; printf '{value[9:]}'"]
    # So long that the text which waits for more is published.
    pause = ["sleep", PAUSE_SECONDS + 0.5]
    steps: tuple[list[Any], ...] = (chunks[0], pause, *chunks[1:], large, terminal)
    run, events = await ended(platform, *steps, profile="events-secret")
    assert run["status"] == "completed", run
    assert value not in json.dumps([run, events])
    assert "s3cr3t" not in json.dumps(said(events))
    # What was said before the pause might have been all; the rest shows that it was not.
    assert said(events) == ["s3cr3[redacted], that is it", "[redacted]" * 100]
