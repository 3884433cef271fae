"""Parts that die, while runs are under way. Nobody restarts anything by hand."""

import asyncio

import pytest
import pytest_asyncio

from tests.e2e.agents import GO, UNTIL_GO
from tests.e2e.checks import check_journal
from tests.e2e.cluster import (
    LABEL_RUN,
    RUNS,
    Json,
    called,
    dev,
    eventually,
    items,
    let_go,
    pod_uid,
    processes_of,
)
from tests.e2e.installation import MCP_SERVER, OPERATOR, Installation
from tests.events import said

pytestmark = [pytest.mark.e2e, pytest.mark.disruptive, pytest.mark.timeout(300)]

DEATHS = 2
"""
How often a part may have died before a test.

The kubelet starts a container again at once, after the next death when 10 s have gone by, then
20 s, 40 s and so on. Up to 10 s are waited out: to replace the pod takes hardly less.
"""


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def without_backoff(platform: Installation) -> None:
    """Begin with new pods of what the kubelet would restart only after a long time."""
    for component in (OPERATOR, MCP_SERVER):
        if any(deaths_of(pod) >= DEATHS for pod in await platform.pods(component)):
            await platform.restart(component)
    await platform.ready()


def deaths_of(pod: Json) -> int:
    containers = pod["status"].get("containerStatuses", [])
    return max((one["restartCount"] for one in containers), default=0)


async def _one_pod_at_a_time(run_id: str) -> None:
    pods = await items("pods", labels=f"{LABEL_RUN}={run_id}")
    assert len(pods) <= 1, [pod["metadata"]["name"] for pod in pods]


def messages(count: int) -> list[str]:
    """What an agent says that is told to talk."""
    return [f"message {number}" for number in range(1, count + 1)]


async def test_a_killed_operator_resumes_its_runs(platform: Installation) -> None:
    """One is at work when it dies, one is being started, and one it has hardly seen."""
    talk = ["talk", 40, 0.1]
    at_work = await platform.trivial(talk)
    await platform.reaches(at_work, "Running")
    starting = await platform.trivial(talk)
    await platform.reaches(starting, "Starting", "Running")
    new = await platform.trivial(talk)
    await platform.kill(OPERATOR)
    runs = (at_work, starting, new)
    for run, events in await asyncio.gather(*(platform.client.finish(run_id) for run_id in runs)):
        assert (run["status"], run["attempts"]) == ("completed", 1), run
        check_journal(events, "completed")
        assert said(events) == messages(40)
        await _one_pod_at_a_time(run["run_id"])


async def test_a_killed_operator_finishes_a_cancellation(platform: Installation) -> None:
    run_id = await platform.trivial(["hang"])
    await platform.reaches(run_id, "Running")
    uid = await pod_uid(run_id)
    asking = asyncio.create_task(platform.client.call("cancel_run", run_id=run_id, wait_ms=30_000))
    await platform.reaches(run_id, "Cancelling", "Cancelled")
    await platform.kill(OPERATOR)
    await asking
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "cancelled"
    # The kubelet takes the empty sandbox down a moment after its containers.
    left = await asyncio.to_thread(processes_of, uid)
    assert [line for line in left if "/pause" not in line] == []
    check_journal(events, "cancelled")


async def test_a_killed_mcp_server_neither_loses_nor_duplicates_events(
    platform: Installation,
) -> None:
    run_id = await platform.trivial(["talk", 400, 0.01])
    await platform.reaches(run_id, "Running")
    await platform.kill(MCP_SERVER)
    await platform.ready()
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert said(events) == messages(400)


@pytest.mark.alone
async def test_runs_survive_a_restart_of_the_api_server(platform: Installation) -> None:
    working, cancelled = await asyncio.gather(
        platform.trivial(["talk", 100, 0.1], ["run", UNTIL_GO]), platform.trivial(["sleep", 600])
    )
    await asyncio.gather(*(platform.reaches(one, "Running") for one in (working, cancelled)))
    await dev("restart", "kube-apiserver")
    await platform.ready()
    answer = await platform.client.cancel(cancelled)
    assert answer["status"] == "cancelled"
    await let_go(working)
    run, events = await platform.client.finish(working)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    check_journal(events, "completed")
    later = await platform.trivial(["say", "still here"])
    run, _ = await platform.client.finish(later)
    assert run["status"] == "completed"


@pytest.mark.alone
@pytest.mark.parametrize("component", ["kubelet", "containerd"])
async def test_a_run_continues_while_parts_of_its_node_are_restarted(
    platform: Installation, component: str
) -> None:
    run_id = await platform.trivial(["talk", 100, 0.1], ["run", UNTIL_GO], ["say", "the end"])
    await platform.reaches(run_id, "Running")
    uid = await pod_uid(run_id)
    await dev("restart", component)
    # The kubelet and containerd find each other again a moment after they work by themselves.
    go = ("kubectl", "exec", f"{run_id}-1", "-n", RUNS, "-c", "agent", "--", "touch", GO)
    await eventually(lambda: called(*go), lambda done: done.returncode == 0, 60)
    run, events = await platform.client.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    assert (await platform.status(run_id))["podUID"] == uid
    assert said(events) == [*messages(100), "the end"]
