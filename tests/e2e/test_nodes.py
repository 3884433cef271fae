"""
Nodes that are lost, come back, or are emptied, under runs.

The nodes are fake, so that they can be lost, but everything that decides is real: the scheduler,
the controllers that taint nodes, evict and collect garbage, and the operator. What a kubelet and a
runner would say of a pod, the tests say.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from dev import product
from dev.front_door import TERMINAL
from tests.e2e.cluster import RUNS, dev, eventually, get, items, kubectl
from tests.e2e.failing import check_failure
from tests.e2e.fake_nodes import FakeNode
from tests.e2e.platform import Platform

# To find out that a node is lost takes the cluster the best part of a minute, and the operator
# waits another half for its pods.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

Json = dict[str, Any]
LOST = ("plain", "cancelled", "replaced", "forced")
"""Runs on the node that is lost; and one whose pod is given more time than the node is away."""
PATIENT = "patient"
TIMES = 180


def run_of(name: str, profile: str, **spec: Any) -> Json:
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": RUNS},
        "spec": {"backend": "acp", "profile": profile, "prompt": "x", "retry": {"limit": 0}} | spec,
    }


async def at_work(run: str) -> None:
    """Wait for a run's pod, and say for its runner that the agent has its task."""

    async def phase() -> str:
        pod = await get("pod", f"{run}-1")
        return "" if pod is None else str(pod["status"].get("phase"))

    await eventually(phase, lambda seen: seen == "Running")
    said = {"status": {"agent": {"attempt": 1, "state": "Working", "promptSent": True}}}
    await _patch("run", run, said)
    await eventually(lambda: _phase(run), lambda seen: seen == "Running")


async def _patch(kind: str, name: str, status: Json) -> None:
    what = ("patch", kind, name, "-n", RUNS, "--subresource=status", "--type=merge")
    await kubectl(*what, "-p", json.dumps(status))


async def status_of(run: str) -> Json:
    found = await get("run", run)
    assert found is not None, f"{run} is gone"
    status: Json = found["status"]
    return status


async def _phase(run: str) -> str:
    return str((await status_of(run))["phase"])


def condition(status: Json, kind: str) -> tuple[str, str]:
    """Return the status and reason of a condition."""
    for one in status.get("conditions", []):
        if one["type"] == kind:
            return one["status"], one["reason"]
    return "", ""


async def pods_of(run: str) -> list[str]:
    found = await items("pods", "-l", f"agentrun.dev/run={run}")
    return sorted(pod["metadata"]["name"] for pod in found)


def prepare(platform: Platform, node: FakeNode, *objects: Json) -> None:
    """Bring a node up, with profiles and runs that work on it."""
    node.create()
    product.apply(product.environment(platform.cluster), *objects)


@pytest.fixture(scope="module")
def nodes(platform: Platform) -> Iterator[tuple[FakeNode, FakeNode]]:
    """
    Lose a node with runs on it, and another for good.

    Once for all the tests of this: it takes a minute and a half.
    """
    away, removed = FakeNode("fake-away"), FakeNode("fake-removed")
    profiles = [
        away.profile("fake-away"),
        away.profile("fake-patient", patience=600),
        removed.profile("fake-removed"),
    ]
    runs = [run_of(name, "fake-away", session={"name": f"on-{name}"}) for name in LOST]
    runs.append(run_of(PATIENT, "fake-patient"))
    runs.append(run_of("orphan", "fake-removed"))
    runs[LOST.index("replaced")]["spec"]["retry"] = {"limit": 1}
    try:
        removed.create()
        prepare(platform, away, *profiles, *runs)
        asyncio.run(_lose(platform, away, removed))
        yield away, removed
    finally:
        asyncio.run(_remove([run["metadata"]["name"] for run in runs]))
        away.delete()
        removed.delete()


async def _lose(platform: Platform, away: FakeNode, removed: FakeNode) -> None:
    names = (*LOST, PATIENT, "orphan")
    await asyncio.gather(*(at_work(name) for name in names))
    away.stop()
    removed.delete()
    next_in_line = run_of("next", "fake-away", session={"name": "on-plain"})
    await platform.apply(next_in_line)
    for name in LOST:
        await eventually(
            lambda name=name: status_of(name),  # type: ignore[misc]
            lambda seen: condition(seen, "PodTerminated")[0] == "Unknown",
            TIMES,
        )


async def _remove(names: list[str]) -> None:
    """Leave nothing behind: neither runs nor pods that nobody would ever confirm to be gone."""
    await kubectl(
        "delete", "runs", "-n", RUNS, "--ignore-not-found", "--wait=false", "next", *names
    )
    selection = f"agentrun.dev/run in ({','.join(['next', *names])})"
    await kubectl("delete", "pods", "-n", RUNS, "-l", selection, "--force", "--grace-period=0")
    profiles = ("fake-away", "fake-patient", "fake-removed")
    await kubectl("delete", "aprofile", "-n", RUNS, "--ignore-not-found", *profiles)


async def test_a_run_on_a_lost_node_says_so_and_is_not_over(
    platform: Platform, nodes: tuple[FakeNode, FakeNode]
) -> None:
    status = await status_of("plain")
    assert (status["phase"], status["reason"]) == ("Running", "NodeLost")
    assert condition(status, "PodTerminated") == ("Unknown", "NodeLost")
    assert status["message"].startswith("Node fake-away does not confirm the end of pod plain-1")
    assert await pods_of("plain") == ["plain-1"]


async def test_the_next_run_of_its_session_waits(
    platform: Platform, nodes: tuple[FakeNode, FakeNode]
) -> None:
    status = await status_of("next")
    assert (status["phase"], status["reason"]) == ("Queued", "SessionBusy")
    assert await pods_of("next") == []


async def test_a_cancelled_run_stays_cancelling_until_its_pod_is_known_to_be_gone(
    platform: Platform, nodes: tuple[FakeNode, FakeNode]
) -> None:
    answer = await platform.door.call("cancel_run", run_id="cancelled", wait_ms=2_000)
    assert answer["status"] not in TERMINAL
    status = await eventually(
        lambda: status_of("cancelled"), lambda seen: seen["phase"] == "Cancelling"
    )
    assert (status["phase"], status["reason"]) == ("Cancelling", "NodeLost")
    assert condition(status, "PodTerminated") == ("Unknown", "NodeLost")
    assert condition(status, "CancelRequested")[0] == "True"


async def test_a_lost_pod_is_not_replaced_before_it_is_gone(
    platform: Platform, nodes: tuple[FakeNode, FakeNode]
) -> None:
    assert (await status_of("replaced"))["attempts"] == 1
    assert await pods_of("replaced") == ["replaced-1"]


@pytest.mark.failure("node-lost-pod-removed-by-force")
async def test_who_removes_the_pod_by_force_says_that_it_is_gone(
    platform: Platform, nodes: tuple[FakeNode, FakeNode]
) -> None:
    await kubectl("delete", "pod", "forced-1", "-n", RUNS, "--force", "--grace-period=0")
    await check_failure(platform.door, "forced", "node-lost-pod-removed-by-force")


@pytest.mark.failure("node-removed")
async def test_a_run_whose_node_was_removed_ends_when_its_pod_is_collected(
    platform: Platform, nodes: tuple[FakeNode, FakeNode]
) -> None:
    await check_failure(platform.door, "orphan", "node-removed")


@pytest.fixture(scope="module")
def back(nodes: tuple[FakeNode, FakeNode]) -> FakeNode:
    """The node that was away, after its return: whatever needs it away was tested before."""
    away, _ = nodes
    away.start()
    return away


@pytest.mark.failure("node-lost")
async def test_a_lost_run_ends_when_its_node_is_back(platform: Platform, back: FakeNode) -> None:
    await check_failure(platform.door, "plain", "node-lost")


async def test_a_cancelled_run_is_cancelled_when_its_node_is_back(
    platform: Platform, back: FakeNode
) -> None:
    run, _ = await platform.door.finish("cancelled")
    assert run["status"] == "cancelled"
    assert await pods_of("cancelled") == []


async def test_a_lost_pod_is_replaced_when_it_is_gone(platform: Platform, back: FakeNode) -> None:
    await eventually(lambda: pods_of("replaced"), lambda names: names == ["replaced-2"], TIMES)
    status = await status_of("replaced")
    assert (status["phase"], status["attempts"]) in (("Queued", 2), ("Starting", 2))


async def test_then_the_next_run_of_the_session_begins(platform: Platform, back: FakeNode) -> None:
    await platform.door.finish("plain")
    await eventually(lambda: pods_of("next"), lambda names: names == ["next-1"], TIMES)


async def test_a_run_goes_on_if_its_node_is_back_in_time(
    platform: Platform, back: FakeNode
) -> None:
    pod = await get("pod", f"{PATIENT}-1")
    assert pod is not None
    assert "deletionTimestamp" not in pod["metadata"]
    status = await status_of(PATIENT)
    assert (status["phase"], status["reason"], status["attempts"]) == ("Running", "Working", 1)
    assert status["podUID"] == pod["metadata"]["uid"]
    answer = await platform.door.cancel(PATIENT)
    assert answer["status"] == "cancelled"


@dataclass(frozen=True)
class Work:
    """A run at work on a node that works."""

    node: FakeNode
    run: str


@pytest.fixture
async def work(platform: Platform) -> AsyncIterator[Work]:
    # Each time another name: of a name, the front door also remembers the runs of before.
    node, run = FakeNode("fake-works", cpu="4"), f"busy-{uuid4().hex[:8]}"
    large = {"requests": {"cpu": "3", "memory": "1Gi"}}
    profile = node.profile("fake-works", resources=large)
    await asyncio.to_thread(prepare, platform, node, profile, run_of(run, "fake-works"))
    try:
        await at_work(run)
        yield Work(node, run)
    finally:
        await kubectl("delete", "run", run, "-n", RUNS, "--wait=false")
        await platform.gone("pod", f"{run}-1")
        await asyncio.to_thread(node.delete)
        await kubectl("delete", "aprofile", "fake-works", "-n", RUNS)


@pytest.mark.failure("drained")
async def test_a_drained_node_ends_its_runs(platform: Platform, work: Work) -> None:
    await kubectl("drain", work.node.name, "--delete-emptydir-data", "--timeout=60s")
    await check_failure(platform.door, work.run, "drained")


@pytest.mark.failure("tainted")
async def test_a_node_that_is_tainted_ends_its_runs(platform: Platform, work: Work) -> None:
    await kubectl("taint", "node", work.node.name, "maintenance=now:NoExecute")
    await check_failure(platform.door, work.run, "tainted")


@pytest.mark.failure("node-shut-down")
async def test_a_node_that_shuts_down_ends_its_runs(platform: Platform, work: Work) -> None:
    # As the kubelet leaves the pods it ends when its machine is shut down.
    said = "Pod was terminated in response to imminent node shutdown."
    target = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
    pod = await get("pod", f"{work.run}-1")
    assert pod is not None
    conditions = [*pod["status"]["conditions"], {**target, "message": said}]
    ended = {"terminated": {"exitCode": 137, "reason": "Error"}}
    containers = [
        {**one, "state": ended, "ready": False} for one in pod["status"]["containerStatuses"]
    ]
    status = {
        "phase": "Failed",
        "reason": "Terminated",
        "message": said,
        "conditions": conditions,
        "containerStatuses": containers,
    }
    await _patch("pod", f"{work.run}-1", {"status": status})
    await check_failure(platform.door, work.run, "node-shut-down")


@pytest.mark.failure("preempted")
async def test_a_pod_that_matters_more_takes_the_place_of_a_run(
    platform: Platform, work: Work
) -> None:
    priority = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "matters-more"},
        "value": 1000,
    }
    first = work.node.profile(
        "fake-first",
        pod={"priorityClassName": "matters-more"},
        resources={"requests": {"cpu": "3"}},
    )
    await platform.apply(priority, first, run_of("matters-more", "fake-first"))
    try:
        await check_failure(platform.door, work.run, "preempted")
    finally:
        await platform.door.call("cancel_run", run_id="matters-more", wait_ms=30_000)
        await kubectl("delete", "run/matters-more", "aprofile/fake-first", "-n", RUNS)
        await kubectl("delete", "priorityclass", "matters-more")


async def test_a_pod_that_was_lost_before_the_agent_had_its_task_is_replaced(
    platform: Platform,
) -> None:
    node = FakeNode("fake-early")
    early = run_of("early", "fake-early")
    del early["spec"]["retry"]
    await asyncio.to_thread(prepare, platform, node, node.profile("fake-early"), early)
    try:
        # A drain passes over what the scheduler has not yet placed.
        await eventually(
            lambda: get("pod", "early-1"), lambda pod: bool(pod and pod["spec"].get("nodeName"))
        )
        await kubectl("drain", node.name, "--delete-emptydir-data", "--timeout=60s")
        await kubectl("uncordon", node.name)
        await eventually(lambda: pods_of("early"), lambda names: names == ["early-2"], 60)
        answer = await platform.door.cancel("early")
        assert answer["status"] == "cancelled"
    finally:
        await asyncio.to_thread(node.delete)
        await kubectl("delete", "run/early", "aprofile/fake-early", "-n", RUNS, "--wait=false")


@pytest.mark.parametrize("component", ["kubelet", "containerd"])
async def test_a_run_goes_on_while_parts_of_its_node_are_restarted(
    platform: Platform, component: str
) -> None:
    run_id = await platform.trivial(["talk", 150, 0.2])
    await eventually(lambda: platform.phase(run_id), lambda phase: phase == "Running")
    pod = await get("pod", f"{run_id}-1")
    assert pod is not None
    await dev("restart", component)
    run, events = await platform.door.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    assert (await status_of(run_id))["podUID"] == pod["metadata"]["uid"]
    said = [event["data"]["text"] for event in events if event["type"] == "agent_message"]
    assert said == [f"message {number}" for number in range(1, 151)]
