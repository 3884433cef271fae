"""Cancelling, in every phase: when `cancelled` is returned, no process of the run is left."""

import asyncio
import random
import re
from typing import Any
from uuid import uuid4

import pytest

from dev.failures import find
from dev.mcp_client import ToolCallError
from tests.e2e.agents import script
from tests.e2e.checks import check_journal
from tests.e2e.cluster import (
    RUNS,
    Json,
    apply,
    delete,
    get,
    kubectl,
    pod_uid,
    processes_of,
    runner_of,
    until,
    until_processes,
)
from tests.e2e.installation import SILENT_REPOSITORY, Installation, a_run, profile
from tests.e2e.orphans import ORPHANS, until_event

pytestmark = pytest.mark.e2e

RACES = 10
MOST_RACES = 60
"""So many if need be, until both ends were seen."""


@pytest.mark.parametrize("backend", ["codex", "claude_code"])
async def test_a_cancelled_run_leaves_no_pod_and_no_process(
    platform: Installation, backend: str
) -> None:
    run_id = await platform.spawn(backend, script({"shell": ORPHANS}))
    uid = await pod_uid(run_id)
    await until_event(platform, run_id, "command_started")
    await until_processes(
        uid,
        lambda found: (
            sum("while :" in line for line in found) >= 2
            and any("SIG_IGN" in line for line in found)
        ),
    )
    answer = await platform.client.cancel(run_id)
    left = processes_of(uid)

    assert answer["status"] == "cancelled", answer
    assert left == []
    assert answer["cancelled_at"]
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "cancelled"
    check_journal(events, "cancelled")
    again = await platform.client.call("cancel_run", run_id=run_id)
    assert again == answer
    seen = await platform.run(run_id)
    assert seen["spec"]["cancellation"]["requestedBy"].startswith("system:serviceaccount:")


async def test_cancelling_before_the_pod_exists(platform: Installation) -> None:
    agent, behind = f"busy-{uuid4().hex[:8]}", f"waits-behind-{uuid4().hex[:8]}"
    first = await platform.trivial(["sleep", 60], agent=agent)
    await platform.reaches(first, "Starting", "Running")
    await apply(a_run(behind, prompt="never run", session={"name": agent}))
    await platform.stands_for(behind, "SessionBusy")
    answer = await platform.client.cancel(behind)
    assert answer["status"] == "cancelled"
    assert await get("pod", f"{behind}-1") is None
    await platform.client.call("cancel_run", run_id=first)


SCARCE = "agentrun-test-scarce"
PRIORITY_CLASS = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": SCARCE},
    "value": 0,
}
QUOTA: Json = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": SCARCE, "namespace": RUNS},
    "spec": {
        "hard": {"pods": "0"},
        # It is about no pod of another test.
        "scopeSelector": {
            "matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In", "values": [SCARCE]}
            ]
        },
    },
}
NO_SECRET = [{"name": "KEY", "secret": {"name": "no-such-secret", "key": "key"}}]
CANNOT_START: dict[str, dict[str, Any]] = {
    "cancel-no-secret": {"env": NO_SECRET},
    "cancel-no-node": {"pod": {"nodeSelector": {"no-such": "node"}}},
    "cancel-no-quota": {"pod": {"priorityClassName": SCARCE}},
}
WHY = {
    "no-image": ("ImagePullFailed", "no-such-image"),
    "cancel-no-secret": ("SecretMissing", "no-such-secret"),
    "cancel-no-node": ("Unschedulable", "node"),
    "cancel-no-quota": ("QuotaExceeded", "exceeded quota"),
}


async def test_a_pod_that_cannot_start_reports_why_while_it_waits_and_is_cancelled(
    platform: Installation,
) -> None:
    # How such runs end if nobody cancels them, test_failures_start.py shows.
    await apply(
        PRIORITY_CLASS, QUOTA, *(profile(key, **spec) for key, spec in CANNOT_START.items())
    )
    await until(
        "resourcequota", SCARCE, lambda seen: bool(seen and seen.get("status", {}).get("hard"))
    )
    runs = await platform.spawn_all({key: {} for key in WHY})
    waiting = await asyncio.gather(
        *(platform.stands_for(run_id, WHY[key][0]) for key, run_id in runs.items())
    )
    stories = await asyncio.gather(
        *(kubectl("describe", "run", run_id, "-n", RUNS) for run_id in runs.values())
    )
    answers = await asyncio.gather(*(platform.client.cancel(one) for one in runs.values()))
    pods = [await get("pod", f"{run_id}-1") for run_id in runs.values()]

    for (reason, saying), status, story in zip(WHY.values(), waiting, stories, strict=True):
        assert status["phase"] in ("Queued", "Starting"), status
        assert saying in status["message"], status
        assert reason in story
    assert [answer["status"] for answer in answers] == ["cancelled"] * len(WHY)
    assert pods == [None] * len(WHY)


async def test_cancelling_while_the_runner_starts(platform: Installation) -> None:
    # A first process takes no signal that it has not asked for, and the runner asks late.
    run_id = await platform.trivial(["sleep", 60])
    uid = await pod_uid(run_id)
    await runner_of(uid)
    answer = await platform.client.call("cancel_run", run_id=run_id, wait_ms=25_000)
    assert answer["status"] == "cancelled"
    assert processes_of(uid) == []


async def test_cancelling_while_cloning(platform: Installation) -> None:
    # The address takes connections and never answers, so the clone hangs.
    run_id = await platform.trivial(["say", "x"], workspace={"git": {"url": SILENT_REPOSITORY}})
    uid = await pod_uid(run_id)
    await until_processes(uid, lambda found: any(" fetch " in line for line in found))
    answer = await platform.client.cancel(run_id)
    assert answer["status"] == "cancelled"
    assert processes_of(uid) == []


async def test_cancelling_twice_at_once(platform: Installation) -> None:
    run_id = await platform.trivial(["sleep", 60])
    await platform.reaches(run_id, "Running")
    answers = await asyncio.gather(*(platform.client.cancel(run_id) for _ in range(2)))
    assert [answer["status"] for answer in answers] == ["cancelled", "cancelled"]
    assert answers[0] == answers[1]


async def test_cancelling_by_kubectl(platform: Installation) -> None:
    run_id = await platform.trivial(["sleep", 60])
    uid = await pod_uid(run_id)
    await platform.reaches(run_id, "Running")
    patch = '{"spec": {"desiredState": "Cancelled"}}'
    await kubectl("patch", "run", run_id, "-n", RUNS, "--type=merge", "-p", patch)
    await kubectl("wait", "--for=condition=Finished", f"run/{run_id}", "-n", RUNS, "--timeout=60s")
    assert await platform.phase(run_id) == "Cancelled"
    assert processes_of(uid) == []


@pytest.mark.failure("run-deleted")
async def test_deleting_a_live_run_ends_it(platform: Installation) -> None:
    run_id = await platform.trivial(["sleep", 60])
    uid = await pod_uid(run_id)
    await platform.reaches(run_id, "Running")
    await kubectl("delete", "run", run_id, "-n", RUNS)
    run, events = await platform.client.finish(run_id)
    assert (run["status"], run["reason"]) == ("cancelled", "Deleted")
    assert re.search(find("run-deleted").message, run["message"])
    assert processes_of(uid) == []
    check_journal(events, "cancelled")


async def _cancel_around_the_end(platform: Installation, pause: float) -> str:
    client, run_id = platform.client, await platform.trivial(["say", "done"])
    await until_event(platform, run_id, "agent_message")
    await asyncio.sleep(pause)  # The race is the point: it is run at many instants.
    try:
        answer = await client.cancel(run_id)
        told = answer["status"]
    except ToolCallError as error:
        told = str(error).rpartition("already terminal: ")[2].split(".")[0]
    run, events = await client.finish(run_id)
    seen = await platform.run(run_id)
    assert told == run["status"] == seen["status"]["phase"].lower(), (run_id, told, run, seen)
    check_journal(events, told)
    await delete("run", run_id)
    return str(told)


@pytest.mark.timeout(300)
async def test_cancelling_during_completion_is_always_consistent(
    platform: Installation,
) -> None:
    # Many more interleavings are played in tests/apiserver; these are with all there is.
    chance, side_by_side = random.Random(7), 5
    aim, begun, ends = 1.0, 0, list[str]()

    async def race() -> None:
        nonlocal aim, begun
        while begun < RACES or (begun < MOST_RACES and len(set(ends)) < 2):
            begun += 1
            # Nearer to that instant with each, however busy the machine is: in great steps
            # while it is not known where it is, and in small ones once both ends were seen.
            end = await _cancel_around_the_end(platform, aim * chance.uniform(0.6, 1.4))
            ends.append(end)
            step = 1.6 if len(set(ends)) < 2 else 1.2
            aim *= step if end == "cancelled" else 1 / step

    await asyncio.gather(*(race() for _ in range(side_by_side)))
    assert set(ends) == {"completed", "cancelled"}, "the race was never close"
