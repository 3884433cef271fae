"""Agents that say very much, very fast, or what nobody should say: bounded, and nothing is lost."""

import asyncio
import base64
import hashlib
import json
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agentrun.api import pod_layout
from agentrun.runner.journal import SPOOL_BOUND
from agentrun.runner.lines import MAX_LINE
from agentrun.runner.sanitize import MAX_EVENT_BYTES
from dev.agent.acp_agent import large_text
from tests.e2e.agents import UNTIL_GO
from tests.e2e.checks import check_journal
from tests.e2e.cluster import (
    RUNNER,
    RUNS,
    SYSTEM,
    eventually,
    items,
    kubectl,
    let_go,
    pid_of,
    pod_uid,
)
from tests.e2e.conftest import profile
from tests.e2e.memory import Memory, watching
from tests.e2e.platform import Platform

pytestmark = pytest.mark.e2e

MEGABYTE = 1024 * 1024
FRONT_DOOR_BOUND = 256 * MEGABYTE
RESPONSIVE = 5.0

Json = dict[str, Any]


async def ended(platform: Platform, *steps: list[Any], **more: Any) -> tuple[Json, list[Json]]:
    """Run the agent to its end, and hold the runner to its memory."""
    run_id = await platform.trivial(*steps, **more)
    async with watching(await pod_uid(run_id)) as memory:
        run, events = await collect(platform, run_id)
    memory.check()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return run, events


async def collect(platform: Platform, run_id: str) -> tuple[Json, list[Json]]:
    """Follow a run to its end over one connection, in large pages."""
    events: list[Json] = []
    async with platform.door.client() as client:
        while True:
            after = events[-1]["seq"] if events else 0
            asked = {"run_id": run_id, "after_seq": after, "limit": 1000}
            page = (await client.call_tool("poll_events", asked)).structured_content
            assert isinstance(page, dict)
            events += page["events"]
            if page["status"] in ("completed", "failed") and not page["events"]:
                break
    return await platform.door.call("get_run", run_id=run_id), events


def of(events: list[Json], kind: str) -> list[Json]:
    return [event["data"] for event in events if event["type"] == kind]


def said(events: list[Json]) -> list[str]:
    return [data["text"] for data in of(events, "agent_message")]


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def a_message(text: str, name: str = "raw") -> bytes:
    """A message on the agent's output, whose text is already as it reads inside a JSON string."""
    head = b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"trivial","update":'
    chunk = '{"sessionUpdate":"agent_message_chunk","messageId":"%s","content":%s}'
    content = f'{{"type":"text","text":"{text}"}}'
    line: bytes = (chunk % (name, content)).encode("utf-8", "surrogateescape")
    return head + line + b"}}\n"


async def front_door_uid() -> str:
    pods = await items("pods", "-l", "app.kubernetes.io/component=mcp", namespace=SYSTEM)
    [pod] = [one for one in pods if not one["metadata"].get("deletionTimestamp")]
    return str(pod["metadata"]["uid"])


async def ask_now_and_then(platform: Platform, run_id: str, took: list[float]) -> None:
    """Poll another run, and note how long each answer took."""
    async with platform.door.client() as client:
        while True:
            begin = time.monotonic()
            asked = {"run_id": run_id, "after_seq": 0, "wait_ms": 0}
            answer = await client.call_tool("poll_events", asked)
            assert not answer.is_error, answer
            took.append(time.monotonic() - begin)
            await asyncio.sleep(0.5)  # Between two samples.


@pytest.mark.timeout(300)
async def test_a_thousand_events_a_second_for_a_minute_all_arrive_in_order(
    platform: Platform,
) -> None:
    other = await platform.trivial(["say", "somebody else's"])
    await platform.door.finish(other)
    took: list[float] = []
    asking = asyncio.create_task(ask_now_and_then(platform, other, took))
    async with watching(await front_door_uid(), "mcp_server") as door:
        run, events = await ended(platform, ["pace", 60_000, 1000])
    asking.cancel()
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    expected = (f"message {number}" for number in range(1, 60_001))
    assert said(events) == [f"{one} {hashlib.sha256(one.encode()).hexdigest()}" for one in expected]
    assert door.peak <= FRONT_DOOR_BOUND, door
    assert len(took) > 20
    # A pause of the whole machine is nobody's fault; who is starved waits each time.
    assert sorted(took)[len(took) * 9 // 10] < RESPONSIVE


async def artifact(platform: Platform, run_id: str, event: Json, field: str) -> bytes:
    """Read an artifact as a client does, piece by piece."""
    content, offset = bytearray(), 0
    async with platform.door.client() as client:
        while True:
            asked = {
                "run_id": run_id, "seq": event["seq"], "field_path": field,
                "offset": offset, "limit": 256 * 1024,
            }  # fmt: skip
            page = (await client.call_tool("get_event_artifact", asked)).structured_content
            assert isinstance(page, dict), page
            content += str(page["content"]).encode()
            offset += page["returned_bytes"]
            if not page["has_more"]:
                return bytes(content)


@pytest.mark.parametrize(
    ("where", "kind", "field"),
    [
        pytest.param("message", "agent_message", "/text", id="message"),
        pytest.param("tool", "command_finished", "/output", id="tool"),
    ],
)
async def test_sixteen_megabytes_in_one_event_are_kept_whole(
    platform: Platform, where: str, kind: str, field: str
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


async def test_what_is_no_text_survives_and_breaks_nobody(platform: Platform) -> None:
    messages = [["raw", base64_of(a_message(raw, name)), 1] for name, (raw, _) in ODD.items()]
    noise = [
        ["raw", base64_of(b"\x00\xff\xfe\x1b[2J\x9b binary"), 40],
        ["raw", base64_of(b"\r\n"), 3],
        ["raw", base64_of(b"plain print, not a message\r\n"), 40],
        ["raw", base64_of(b"[" * 20_000 + b"\n"), 1],
        ["err", base64_of(b"\xff\x00\x1b[31m warning \x9b" * 1000), 1500],
        ["err", base64_of(b"\n"), 1],
    ]
    run_id = await platform.trivial(*noise, *messages, ["sleep", 2], ["say", "after"])
    pod = f"{run_id}-1"
    log = asyncio.create_task(_log(pod))
    async with watching(await pod_uid(run_id)) as memory:
        run, events = await collect(platform, run_id)
    memory.check()
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert said(events) == [*(text for _, text in ODD.values()), "after"]
    shown = await log
    assert "after" in shown
    assert not re.findall(r"[^\t\n -~\xa0-\U0010ffff]|[\u2028\u2029\u202e]", shown)


async def _log(pod: str) -> str:
    """Follow the transcript of a run."""

    async def runs() -> bool:
        found = await items("pods", "--field-selector", f"metadata.name={pod}")
        return bool(found) and found[0]["status"]["phase"] != "Pending"

    await eventually(runs, bool, 60)
    return await kubectl("logs", "-f", pod, "-c", "runner", "-n", RUNS)


async def test_structure_without_end_is_kept_as_json(platform: Platform) -> None:
    run, events = await ended(platform, ["deep", 50_000], ["deep", 500_000], ["say", "after"])
    assert run["status"] == "completed", run
    kept = [data for data in of(events, "reasoning") if "raw_message" in data]
    sizes = [data["artifact_refs"]["/raw_message"]["total_bytes"] for data in kept]
    assert sizes == [100_000, 1_000_000]
    assert said(events) == ["after"]


async def test_line_without_end_ends_the_run_with_the_limit_in_words(platform: Platform) -> None:
    run, events = await ended(platform, ["say", "before"], ["line", 2**50])
    assert (run["status"], run["reason"]) == ("failed", "ProtocolError"), run
    assert f"beyond the limit of {MAX_LINE}" in run["message"]
    check_journal(events, "failed")
    assert said(events) == ["before"]


@pytest.mark.timeout(180)
async def test_ten_thousand_tools_in_every_disorder_start_and_finish(platform: Platform) -> None:
    run, events = await ended(platform, ["tools", 64, MEGABYTE], ["tools", 10_000, 100])
    assert run["status"] == "completed", run
    commands = {data["command"] for data in of(events, "command_started")}
    assert {f"make {number}" for number in range(10_000) if number % 7} <= commands
    at_work: set[str] = set()
    for event in events:
        name = event["data"].get("tool_use_id")
        if event["type"] == "command_started":
            assert name not in at_work, event
            at_work.add(name)
        elif event["type"] == "command_finished":
            at_work.remove(name)
    assert at_work == set()
    shown = [data.get("artifact_refs", {}).get("/output") for data in of(events, "command_updated")]
    assert sum(ref["total_bytes"] for ref in shown if ref) == 64 * MEGABYTE


@pytest.mark.timeout(240)
async def test_agent_is_held_up_while_the_front_door_is_away_and_nothing_is_lost(
    platform: Platform,
) -> None:
    run_id = await platform.trivial(
        ["say", "before"], ["run", UNTIL_GO], ["tools", 120, MEGABYTE], ["say", "after"]
    )
    uid = await pod_uid(run_id)
    await eventually(lambda: platform.phase(run_id), lambda phase: phase == "Running")
    async with watching(uid) as memory:
        await _scale(0)
        try:
            await let_go(run_id)
            held = await _held_up(uid, memory)
        finally:
            await _scale(1)
        await platform.ready()
        run, events = await collect(platform, run_id)
    memory.check()
    # One message more may be under way than fits.
    assert SPOOL_BOUND * 0.9 <= held <= SPOOL_BOUND + 4 * MAX_LINE
    assert run["status"] == "completed", run
    assert said(events) == ["before", "after"]
    assert len(of(events, "command_started")) == len(of(events, "command_finished"))
    shown = [data.get("artifact_refs", {}).get("/output") for data in of(events, "command_updated")]
    assert sum(ref["total_bytes"] for ref in shown if ref) == 120 * MEGABYTE


async def _scale(replicas: int) -> None:
    deployment = "deployment/agentrun-mcp"
    await kubectl("scale", deployment, "-n", SYSTEM, f"--replicas={replicas}")
    await kubectl("rollout", "status", deployment, "-n", SYSTEM, "--timeout=90s")
    pods = "-l=app.kubernetes.io/component=mcp"
    if not replicas:
        await kubectl("wait", "pods", pods, "-n", SYSTEM, "--for=delete", "--timeout=90s")


async def _held_up(uid: str, memory: Memory) -> int:
    """Wait until the spool is full and stays as it is; return its size."""
    pid = await asyncio.to_thread(pid_of, uid, RUNNER)
    assert pid, f"the runner is gone; {memory}"
    folder = Path(f"/proc/{pid}/root{pod_layout.SPOOL}/events")

    async def size() -> tuple[int, bool]:
        before = await asyncio.to_thread(_size, folder)
        await asyncio.sleep(2)  # How long it must stay as it is.
        after = await asyncio.to_thread(_size, folder)
        return after, before == after

    held, _ = await eventually(size, lambda seen: seen[0] > SPOOL_BOUND * 0.9 and seen[1], 90)
    return held


def _size(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # Large messages are there for a moment only.
            total += path.stat().st_size
    return total


async def test_value_of_a_secret_in_pieces_does_not_leave(platform: Platform) -> None:
    value = "s3cr3t-value-of-the-test"
    secret = {
        "apiVersion": "v1", "kind": "Secret", "stringData": {"key": value},
        "metadata": {"name": "events-secret", "namespace": RUNS},
    }  # fmt: skip
    env = [{"name": "KEY", "secret": {"name": "events-secret", "key": "key"}}]
    await platform.apply(secret, profile("events-secret", env=env))
    pieces = [value[:5], value[5:9], value[9:] + ", that is it"]
    chunks = [["raw", base64_of(a_message(piece, "one")), 1] for piece in pieces]
    large = ["raw", base64_of(a_message(value * 100, "two")), 1]
    terminal = ["run", f"printf '{value[:9]}'; sleep 0.1; printf '{value[9:]}'"]
    run, events = await ended(
        platform, chunks[0], ["sleep", 2], *chunks[1:], large, terminal, profile="events-secret"
    )
    assert run["status"] == "completed", run
    assert value not in json.dumps([run, events])
    assert "s3cr3t" not in json.dumps(said(events))
    assert said(events) == ["[redacted], that is it", "[redacted]" * 100]
