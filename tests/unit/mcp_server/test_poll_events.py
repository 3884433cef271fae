import asyncio
import json
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from mcp_types import TextResourceContents

from agentrun.api.events import EventType
from agentrun.store.base import Changes, RunRow
from tests.unit.mcp_server.conftest import Bench, eventually

MESSAGE = (EventType.AGENT_MESSAGE, {"text": "Hello."})
LONG = 30_000


async def waiting(bench: Bench, name: str, **more: Any) -> "asyncio.Task[dict[str, Any]]":
    """Begin a poll, and return once it waits."""
    begun = asyncio.Event()
    changes = bench.store.changes

    def watched_changes(*given: Any) -> AbstractAsyncContextManager[Changes]:
        begun.set()
        return changes(*given)

    bench.store.changes = watched_changes  # type: ignore[method-assign, assignment]
    ask = {"after_seq": 0, "wait_ms": LONG} | more
    task = asyncio.create_task(bench.call("poll_events", run_id=name, **ask))
    await begun.wait()
    return task


async def test_events_are_returned_in_order_and_in_pages(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    await bench.say(name, MESSAGE, MESSAGE, MESSAGE)
    first = await bench.call("poll_events", run_id=name, after_seq=0, limit=2)
    assert [event["seq"] for event in first["events"]] == [1, 2]
    assert first["next_after_seq"] == 2
    rest = await bench.call("poll_events", run_id=name, after_seq=2)
    assert rest["next_after_seq"] == 3
    assert rest["events"] == [
        {
            "seq": 3,
            "ts": "2026-11-23T12:00:01.000Z",
            "run_id": name,
            "session_id": (await bench.row(name)).session_uid,
            "backend": "codex",
            "type": "agent_message",
            "data": {"text": "Hello."},
        }
    ]


async def test_a_poll_without_a_wait_returns_at_once(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    answer = await bench.call("poll_events", run_id=name, after_seq=7, wait_ms=0)
    uid = (await bench.row(name)).run.metadata.uid
    assert answer == {
        "run_id": name, "uid": uid, "status": "queued", "events": [], "next_after_seq": 7
    }  # fmt: skip


async def test_a_poll_returns_on_a_new_event(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    poll = await waiting(bench, name)
    await bench.say(name, (EventType.STATUS_CHANGED, {"status": "running"}))
    answer = await asyncio.wait_for(poll, 20)
    assert (answer["status"], len(answer["events"])) == ("running", 1)


async def test_a_poll_returns_with_the_seal_when_the_run_ends(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    poll = await waiting(bench, name)
    bench.cluster.set_status("team-a", name, phase="Failed", reason="ProviderError", message="no")
    answer = await asyncio.wait_for(poll, 20)
    assert answer["status"] == "failed"
    assert [event["type"] for event in answer["events"]] == ["status_changed"]
    assert answer["events"][0]["data"] == {
        "status": "failed",
        "reason": "ProviderError",
        "message": "no",
    }


async def test_a_poll_returns_when_the_status_changes_without_an_event(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    poll = await waiting(bench, name)
    bench.cluster.set_status("team-a", name, phase="Running")
    answer = await asyncio.wait_for(poll, 20)
    assert (answer["status"], answer["events"], answer["next_after_seq"]) == ("running", [], 0)


async def test_a_poll_of_a_run_that_waits_for_input_waits(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    await bench.say(name, (EventType.INPUT_REQUIRED, {"text": "May I?"}))
    poll = await waiting(bench, name, after_seq=1)
    # It was known: neither the phase that follows nor anything else in the status is news.
    bench.cluster.set_status("team-a", name, phase="InputRequired", message="It asks: May I?")

    async def is_seen() -> bool:
        return (await bench.row(name)).run.status.phase == "InputRequired"

    await eventually(is_seen)
    done, _ = await asyncio.wait({poll}, timeout=0.05)
    assert not done
    await bench.say(name, (EventType.STATUS_CHANGED, {"status": "running"}))
    assert (await asyncio.wait_for(poll, 20))["status"] == "running"


def sealing_late(bench: Bench) -> asyncio.Event:
    """Have no journal sealed before the event that is returned is set."""
    seal, may_seal = bench.store.seal, asyncio.Event()

    async def seal_late(*given: Any) -> Any:
        await may_seal.wait()
        return await seal(*given)

    bench.store.seal = seal_late  # type: ignore[method-assign, assignment]
    return may_seal


async def test_a_page_is_never_ahead_of_its_status(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    await bench.say(name, (EventType.RUN_STARTED, {}))
    look = bench.store.get_run_by_uid

    async def look_just_before_it_asks(uid: str) -> RunRow | None:
        row = await look(uid)
        bench.store.get_run_by_uid = look  # type: ignore[method-assign]
        await bench.say(name, (EventType.INPUT_REQUIRED, {"text": "May I?"}))
        return row

    bench.store.get_run_by_uid = look_just_before_it_asks  # type: ignore[method-assign]
    seen = []
    for after in (0, 1):
        page = await bench.call("poll_events", run_id=name, after_seq=after, wait_ms=LONG)
        seen.append((page["status"], [event["type"] for event in page["events"]]))
    assert seen == [("running", ["run_started"]), ("input_required", ["input_required"])]


@pytest.mark.parametrize("wait_ms", [LONG, 0])
async def test_the_end_is_reported_with_its_event_only(bench: Bench, wait_ms: int) -> None:
    name = (await bench.spawn())["run_id"]
    may_seal = sealing_late(bench)
    poll = await waiting(bench, name) if wait_ms else None
    bench.cluster.set_status("team-a", name, phase="Completed")

    async def is_over() -> bool:
        return (await bench.row(name)).run.is_finished

    await eventually(is_over)
    poll = poll or await waiting(bench, name, wait_ms=0)
    done, _ = await asyncio.wait({poll}, timeout=0.05)
    assert not done
    may_seal.set()
    answer = await asyncio.wait_for(poll, 20)
    assert (answer["status"], len(answer["events"])) == ("completed", 1)


async def _shown(bench: Bench, tool: str, name: str) -> dict[str, Any]:
    if tool == "list_runs":
        (found,) = (await bench.call(tool))["runs"]
        return dict(found)
    if tool in ("get_run", "cancel_run"):
        return await bench.call(tool, run_id=name)
    result = await bench.client.read_resource(f"agentrun://team-a/runs/{name}{tool}")
    (content,) = result.contents
    assert isinstance(content, TextResourceContents)
    return dict(json.loads(content.text))


@pytest.mark.parametrize("tool", ["get_run", "cancel_run", "list_runs", "", "/journal"])
async def test_an_end_has_its_last_event_in_every_tool(bench: Bench, tool: str) -> None:
    name = (await bench.spawn())["run_id"]
    may_seal = sealing_late(bench)
    bench.cluster.set_status("team-a", name, phase="Cancelled")

    async def is_over() -> bool:
        return (await bench.row(name)).run.is_finished

    await eventually(is_over)
    asking = asyncio.create_task(_shown(bench, tool, name))
    done, _ = await asyncio.wait({asking}, timeout=0.05)
    assert not done
    may_seal.set()
    shown = await asyncio.wait_for(asking, 20)
    assert shown["status"] == "cancelled"
    if tool != "cancel_run":  # Its result has no last_seq.
        assert shown["last_seq"] == (await bench.row(name)).last_seq == 1


async def test_a_run_whose_end_is_never_recorded_is_listed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_server.tools.runs.SEAL_SECONDS", 0.1)
    name = (await bench.spawn())["run_id"]
    sealing_late(bench)
    bench.cluster.set_status("team-a", name, phase="Failed")

    async def is_over() -> bool:
        return (await bench.row(name)).run.is_finished

    await eventually(is_over)
    found = await asyncio.wait_for(bench.call("list_runs", status="failed"), 20)
    assert [run["run_id"] for run in found["runs"]] == [name]


async def test_an_end_that_is_not_sealed_in_time_is_not_reported(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_server.tools.events.SEAL_SECONDS", 0.2)
    name = (await bench.spawn())["run_id"]
    may_seal = sealing_late(bench)
    poll = await waiting(bench, name, wait_ms=100)
    bench.cluster.set_status("team-a", name, phase="Completed")
    # It was queued as the call began: the end comes with its event, in a later call.
    answer = await asyncio.wait_for(poll, 20)
    assert (answer["status"], answer["events"]) == ("queued", [])

    async def is_over() -> bool:
        return (await bench.row(name)).run.is_finished

    await eventually(is_over)
    error = await bench.refused("poll_events", run_id=name, after_seq=0, wait_ms=0)
    assert f"The end of run {name} is still being recorded. Call again" in error
    may_seal.set()
    answer = await bench.call("poll_events", run_id=name, after_seq=0, wait_ms=LONG)
    assert (answer["status"], len(answer["events"])) == ("completed", 1)


async def test_a_poll_at_the_end_of_a_run_returns_at_once(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    await bench.run_sync.observe(bench.cluster.set_status("team-a", name, phase="Completed"))
    asking = bench.call("poll_events", run_id=name, after_seq=1, wait_ms=LONG)
    answer = await asyncio.wait_for(asking, 20)
    assert (answer["status"], answer["events"]) == ("completed", [])


async def test_the_agents_report_alone_does_not_end_the_run(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    bench.cluster.set_status("team-a", name, phase="Running")

    async def is_running() -> bool:
        return (await bench.row(name)).run.status.phase == "Running"

    await eventually(is_running)
    await bench.say(name, (EventType.RUN_COMPLETED, {"final_response": "Done."}))
    answer = await bench.call("poll_events", run_id=name, after_seq=0)
    assert (answer["status"], answer["events"][0]["type"]) == ("running", "run_completed")


async def test_polls_end_when_the_process_stops(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    poll = await waiting(bench, name)
    bench.tool_context.stopping.set()
    assert (await asyncio.wait_for(poll, 20))["events"] == []


async def test_a_poll_reports_an_unavailable_store_and_works_again_afterwards(
    bench: Bench,
) -> None:
    name = (await bench.spawn())["run_id"]
    bench.store.failure = OSError("disk full")
    text = await bench.refused("poll_events", run_id=name, after_seq=0)
    assert text.startswith("The event store is unavailable: The database is away: disk full")
    bench.store.failure = None
    answer = await bench.call("poll_events", run_id=name, after_seq=0, wait_ms=0)
    assert answer["status"] == "queued"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({}, id="no-cursor"),
        pytest.param({"after_seq": -1}, id="negative"),
        pytest.param({"after_seq": 0, "limit": 0}, id="no-events"),
        pytest.param({"after_seq": 0, "limit": 1001}, id="too-many"),
        pytest.param({"after_seq": 0, "wait_ms": 30_001}, id="too-long"),
    ],
)
async def test_arguments_out_of_bounds_are_refused(bench: Bench, arguments: dict[str, Any]) -> None:
    told = await bench.refused("poll_events", run_id="x", **arguments)
    assert told.startswith("Invalid arguments for tool poll_events: ")
    assert "\n" not in told
