"""Cancelling, in every phase: when `cancelled` is returned, no process of the run is left."""

import asyncio
import random
import re
from dataclasses import replace

import pytest

from dev.failures import find
from dev.front_door import ToolFailed
from tests.e2e.agents import script
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, eventually, get, kubectl, pod_uid, processes_of, runner_of
from tests.e2e.platform import Platform

pytestmark = pytest.mark.e2e

# What a careless tool leaves behind: a child in a session of its own, one that was forked twice,
# and one that ignores SIGTERM.
ORPHANS = (
    "(setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' >/dev/null 2>&1 &) ; "
    "(sh -c 'sh -c \"while :; do sleep 1; done\" &' &) ; "
    "echo started; "
    "python3 -c 'import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(600)'"
)


async def until_event(platform: Platform, run_id: str, kind: str) -> None:
    async for event in platform.door.events(run_id):
        if event["type"] == kind:
            return
    raise AssertionError(f"{run_id} ended without {kind}")


@pytest.mark.parametrize("backend", ["codex", "claude_code"])
async def test_nothing_of_a_cancelled_run_is_left(platform: Platform, backend: str) -> None:
    spawned = await platform.door.call(
        "spawn_run", backend=backend, role="worker", prompt=script({"shell": ORPHANS})
    )
    run_id = spawned["run_id"]
    uid = await pod_uid(run_id)
    await until_event(platform, run_id, "command_started")
    await eventually(
        lambda: asyncio.to_thread(processes_of, uid),
        lambda found: (
            sum("while :" in line for line in found) >= 2
            and any("SIG_IGN" in line for line in found)
        ),
    )
    answer = await platform.door.cancel(run_id)
    left = processes_of(uid)

    assert answer["status"] == "cancelled", answer
    assert left == []
    assert answer["cancelled_at"]
    run, events = await platform.door.finish(run_id)
    assert run["status"] == "cancelled"
    check_journal(events, "cancelled")
    again = await platform.door.call("cancel_run", run_id=run_id)
    assert again == answer
    seen = await get("run", run_id)
    assert seen is not None
    assert seen["spec"]["cancellation"]["requestedBy"].startswith("system:serviceaccount:")


async def test_cancelling_before_the_pod_exists(platform: Platform) -> None:
    first = await platform.trivial(["sleep", 60], agent="busy")
    await eventually(lambda: platform.phase(first), lambda phase: phase == "Running")
    manifest = {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": "waits-behind", "namespace": RUNS},
        "spec": {
            "backend": "acp",
            "profile": "trivial",
            "prompt": "never run",
            "session": {"name": "busy"},
        },
    }
    await platform.apply(manifest)
    await eventually(lambda: platform.reason("waits-behind"), lambda why: why == "SessionBusy")
    answer = await platform.door.cancel("waits-behind")
    assert answer["status"] == "cancelled"
    assert await get("pod", "waits-behind-1") is None
    await platform.door.call("cancel_run", run_id=first)


async def test_cancelling_while_the_image_is_missing(platform: Platform) -> None:
    run_id = await platform.trivial(["say", "x"], profile="no-image")
    await eventually(lambda: platform.reason(run_id), lambda why: why == "ImagePullFailed")
    answer = await platform.door.cancel(run_id)
    assert answer["status"] == "cancelled"
    assert await get("pod", f"{run_id}-1") is None


async def test_cancelling_while_the_runner_starts(platform: Platform) -> None:
    # A first process takes no signal that it has not asked for, and the runner asks late.
    run_id = await platform.trivial(["sleep", 60])
    uid = await pod_uid(run_id)
    await runner_of(uid)
    answer = await platform.door.call("cancel_run", run_id=run_id, wait_ms=25_000)
    assert answer["status"] == "cancelled"
    assert processes_of(uid) == []


async def test_cancelling_while_cloning(platform: Platform) -> None:
    # The address takes connections and never answers, so the clone hangs.
    run_id = await platform.trivial(
        ["say", "x"], workspace={"git": {"url": platform.silent_repository}}
    )
    uid = await pod_uid(run_id)
    await eventually(
        lambda: asyncio.to_thread(processes_of, uid),
        lambda found: any("git fetch" in line for line in found),
    )
    answer = await platform.door.cancel(run_id)
    assert answer["status"] == "cancelled"
    assert processes_of(uid) == []


async def test_cancelling_twice_at_once(platform: Platform) -> None:
    run_id = await platform.trivial(["sleep", 60])
    await eventually(lambda: platform.phase(run_id), lambda phase: phase == "Running")
    answers = await asyncio.gather(*(platform.door.cancel(run_id) for _ in range(2)))
    assert [answer["status"] for answer in answers] == ["cancelled", "cancelled"]
    assert answers[0] == answers[1]


async def test_cancelling_by_kubectl(platform: Platform) -> None:
    run_id = await platform.trivial(["sleep", 60])
    uid = await pod_uid(run_id)
    await eventually(lambda: platform.phase(run_id), lambda phase: phase == "Running")
    patch = '{"spec": {"desiredState": "Cancelled"}}'
    await kubectl("patch", "run", run_id, "-n", RUNS, "--type=merge", "-p", patch)
    await kubectl("wait", "--for=condition=Finished", f"run/{run_id}", "-n", RUNS, "--timeout=60s")
    assert await platform.phase(run_id) == "Cancelled"
    assert processes_of(uid) == []


@pytest.mark.failure("run-deleted")
async def test_deleting_a_live_run_ends_it(platform: Platform) -> None:
    run_id = await platform.trivial(["sleep", 60])
    uid = await pod_uid(run_id)
    await eventually(lambda: platform.phase(run_id), lambda phase: phase == "Running")
    await kubectl("delete", "run", run_id, "-n", RUNS)
    run, events = await platform.door.finish(run_id)
    assert (run["status"], run["reason"]) == ("cancelled", "Deleted")
    assert re.search(find("run-deleted").message, run["message"])
    assert processes_of(uid) == []
    check_journal(events, "cancelled")


async def _cancel_around_the_end(platform: Platform, pause: float) -> str:
    door, run_id = platform.door, await platform.trivial(["say", "done"])
    async for event in door.events(run_id):
        if event["type"] == "agent_message":
            break
    await asyncio.sleep(pause)  # The race is the point: it is run at many instants.
    try:
        answer = await door.cancel(run_id)
        told = answer["status"]
    except ToolFailed as error:
        told = str(error).rpartition("already terminal: ")[2].split(".")[0]
    run, events = await door.finish(run_id)
    seen = await get("run", run_id)
    assert seen is not None
    assert told == run["status"] == seen["status"]["phase"].lower(), (run_id, told, run, seen)
    check_journal(events, told)
    await kubectl("delete", "run", run_id, "-n", RUNS, "--wait=false")
    return str(told)


@pytest.mark.timeout(900)
async def test_cancelling_in_the_instant_of_completion_is_always_consistent(
    platform: Platform,
) -> None:
    chance, side_by_side = random.Random(7), asyncio.Semaphore(6)
    aim = 1.0

    async with platform.door.kept_open() as door:
        connected = replace(platform, door=door)

        async def race() -> str:
            nonlocal aim
            async with side_by_side:
                end = await _cancel_around_the_end(connected, aim * chance.uniform(0.5, 1.5))
                # Nearer to that instant with each, however busy the machine is.
                aim *= 1.2 if end == "cancelled" else 0.8
                return end

        ends = await asyncio.gather(*(race() for _ in range(100)))
    assert set(ends) == {"completed", "cancelled"}, "the race was never close"
