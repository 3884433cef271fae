"""Parts that die, while runs are under way. Nobody restarts anything by hand."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.e2e.agents import UNTIL_GO
from tests.e2e.checks import check_journal
from tests.e2e.cluster import (
    SYSTEM,
    dev,
    eventually,
    get,
    items,
    kill_component,
    kubectl,
    let_go,
    processes_of,
)
from tests.e2e.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
async def without_backoff(platform: Platform) -> AsyncIterator[None]:
    """Begin with new pods: the kubelet restarts one that died often only after minutes."""
    yield
    await kubectl("rollout", "restart", "deployment", "-n", SYSTEM)
    for name in ("agentrun-operator", "agentrun-mcp"):
        await kubectl("rollout", "status", f"deployment/{name}", "-n", SYSTEM, "--timeout=90s")
    await platform.ready()


async def _one_pod_at_a_time(run_id: str) -> None:
    pods = await items("pods", "-l", f"agentrun.dev/run={run_id}")
    assert len(pods) <= 1, [pod["metadata"]["name"] for pod in pods]


STAGES = ["", "Queued", "Starting", "Running", "Completed"]


@pytest.mark.parametrize("stage", ["", "Starting", "Running"])
async def test_a_killed_operator_takes_up_its_runs_again(platform: Platform, stage: str) -> None:
    run_id = await platform.trivial(["talk", 20, 0.1])
    await eventually(
        lambda: platform.phase(run_id), lambda phase: STAGES.index(phase) >= STAGES.index(stage)
    )
    await kill_component("operator")
    run, events = await platform.door.finish(run_id)
    assert run["status"] == "completed", run
    assert run["attempts"] == 1
    check_journal(events, "completed")
    said = [event["data"]["text"] for event in events if event["type"] == "agent_message"]
    assert said == [f"message {number}" for number in range(1, 21)]
    await _one_pod_at_a_time(run_id)


async def test_a_killed_operator_finishes_a_cancellation(platform: Platform) -> None:
    run_id = await platform.trivial(["hang"])
    await eventually(lambda: platform.phase(run_id), lambda phase: phase == "Running")
    pod = await get("pod", f"{run_id}-1")
    assert pod is not None
    asking = asyncio.create_task(platform.door.call("cancel_run", run_id=run_id, wait_ms=30_000))
    await eventually(
        lambda: platform.phase(run_id), lambda phase: phase in ("Cancelling", "Cancelled")
    )
    await kill_component("operator")
    await asking
    run, events = await platform.door.finish(run_id)
    assert run["status"] == "cancelled"
    assert processes_of(pod["metadata"]["uid"]) == []
    check_journal(events, "cancelled")


async def test_a_killed_front_door_loses_and_doubles_nothing(platform: Platform) -> None:
    run_id = await platform.trivial(["talk", 400, 0.01])
    await eventually(lambda: platform.phase(run_id), lambda phase: phase == "Running")
    await kill_component("mcp")
    await platform.ready()
    run, events = await platform.door.finish(run_id)
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    said = [event["data"]["text"] for event in events if event["type"] == "agent_message"]
    assert said == [f"message {number}" for number in range(1, 401)]


async def test_runs_survive_a_restart_of_the_api_server(platform: Platform) -> None:
    working = await platform.trivial(["talk", 100, 0.1], ["run", UNTIL_GO])
    cancelled = await platform.trivial(["sleep", 600])
    for run_id in (working, cancelled):
        await eventually(
            lambda run_id=run_id: platform.phase(run_id),  # type: ignore[misc]
            lambda phase: phase == "Running",
        )
    await dev("restart", "kube-apiserver")
    await platform.ready()
    answer = await platform.door.cancel(cancelled)
    assert answer["status"] == "cancelled"
    await let_go(working)
    run, events = await platform.door.finish(working)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    check_journal(events, "completed")
    later = await platform.trivial(["say", "still here"])
    run, _ = await platform.door.finish(later)
    assert run["status"] == "completed"
