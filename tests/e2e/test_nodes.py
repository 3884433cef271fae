"""
Nodes that are lost, come back, or are emptied, under runs.

The nodes are fake, so that they can be lost, but everything that decides is real: the scheduler,
the controllers that taint nodes, evict and collect garbage, and the operator. What a kubelet and a
runner would say of a pod, the tests say.

To find out that a node is lost takes the cluster the best part of a minute, and the operator waits
another half for its pods. That goes on while the first tests deal with nodes that work.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from agentrun.api.status import TERMINAL_STATUSES
from tests.e2e.cluster import (
    LABEL_RUN,
    RUNS,
    Json,
    api,
    apply,
    delete,
    items,
    kubectl,
    merge,
    pod_of,
    until,
)
from tests.e2e.failing import check_failure
from tests.e2e.fake_nodes import FakeNode
from tests.e2e.installation import Installation, a_run

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.disruptive,
    pytest.mark.xdist_group("nodes"),
    pytest.mark.timeout(300),
]

LOST = ("plain", "cancelled", "replaced", "forced")
"""Runs on the node that is lost; and one whose pod is given more time than the node is away."""
PATIENT = "patient"
ORPHAN = "orphan"
"""The run on the node that is lost for good."""
NEXT = "next"
"""The run that comes after ``plain`` in its session."""
TIMES = 180


def new() -> str:
    """Make a part of a name: the MCP server also remembers the runs of before by theirs."""
    return uuid4().hex[:8]


def once(name: str, profile: str, **spec: Any) -> Json:
    """Make a run that is not tried again, unless it is told."""
    return a_run(name, **{"profile": profile, "retry": {"limit": 0}, **spec})


async def at_work(platform: Installation, run: str) -> None:
    """Wait for a run's pod, and say for its runner that the agent has its task."""
    await until("pod", f"{run}-1", lambda pod: bool(pod and pod["status"]["phase"] == "Running"))
    agent = {"attempt": 1, "state": "Working", "promptSent": True}
    await merge("run", run, {"status": {"agent": agent}}, subresource="status")
    await platform.reaches(run, "Running")


def condition(status: Json, kind: str) -> tuple[str, str]:
    """Return the status and reason of a condition."""
    for one in status.get("conditions", []):
        if one["type"] == kind:
            return one["status"], one["reason"]
    return "", ""


async def pods_of(run: str) -> list[str]:
    found = await items("pods", labels=f"{LABEL_RUN}={run}")
    return sorted(pod["metadata"]["name"] for pod in found)


@dataclass(frozen=True)
class Loss:
    """A node that is lost with runs on it, and another that is removed."""

    away: FakeNode = field(default_factory=lambda: FakeNode("fake-away"))
    removed: FakeNode = field(default_factory=lambda: FakeNode("fake-removed"))
    mark: str = field(default_factory=new)

    def run(self, role: str) -> str:
        """Name the run that has this part in it."""
        return f"{role}-{self.mark}"

    def runs(self) -> list[Json]:
        """Make the runs that are at work when it happens."""
        more: dict[str, Json] = {"replaced": {"retry": {"limit": 1}}}
        runs = [
            once(
                self.run(role),
                "fake-away",
                session={"name": f"on-{self.run(role)}"},
                **more.get(role, {}),
            )
            for role in LOST
        ]
        return [
            *runs,
            once(self.run(PATIENT), "fake-patient"),
            once(self.run(ORPHAN), "fake-removed"),
        ]

    def profiles(self) -> list[Json]:
        """Make the profiles of these runs."""
        return [
            self.away.profile("fake-away"),
            self.away.profile("fake-patient", patience=600),
            self.removed.profile("fake-removed"),
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def losing(platform: Installation) -> AsyncIterator["asyncio.Task[Loss]"]:
    """Begin to lose the nodes, and go on with it beside the tests that do not need it."""
    loss = Loss()
    task = asyncio.create_task(_lose(platform, loss))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await _remove(loss)


async def _lose(platform: Installation, loss: Loss) -> Loss:
    await asyncio.gather(loss.away.create(), loss.removed.create())
    await apply(*loss.profiles())
    await apply(*loss.runs())
    await asyncio.gather(*(at_work(platform, loss.run(role)) for role in (*LOST, PATIENT, ORPHAN)))
    loss.away.stop()
    await loss.removed.delete()
    session = {"name": f"on-{loss.run('plain')}"}
    await apply(once(loss.run(NEXT), "fake-away", session=session))
    await asyncio.gather(*(platform.until(loss.run(role), is_given_up, TIMES) for role in LOST))
    return loss


def is_given_up(status: Json) -> bool:
    """Whether the operator has found out that nobody knows what became of the pod."""
    return condition(status, "PodTerminated")[0] == "Unknown"


async def _remove(loss: Loss) -> None:
    """Leave nothing behind: neither runs nor pods that nobody would ever confirm to be gone."""
    names = [loss.run(role) for role in (*LOST, PATIENT, ORPHAN, NEXT)]
    await delete("run", *names)
    for pod in await items("pods", labels=f"{LABEL_RUN} in ({','.join(names)})"):
        await api().delete("pod", pod["metadata"]["name"], RUNS, grace_seconds=0)
    await delete("aprofile", *(profile["metadata"]["name"] for profile in loss.profiles()))
    await asyncio.gather(loss.away.delete(), loss.removed.delete())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(platform: Installation) -> AsyncIterator[FakeNode]:
    """A node that works, for one run after the other."""
    node = FakeNode("fake-works", cpu="4")
    profiles = [
        node.profile("fake-works", resources={"requests": {"cpu": "3", "memory": "1Gi"}}),
        node.profile("fake-early"),
    ]
    try:
        await asyncio.gather(node.create(), apply(*profiles))
        yield node
    finally:
        await node.delete()
        await delete("aprofile", *(profile["metadata"]["name"] for profile in profiles))


@pytest_asyncio.fixture(loop_scope="session")
async def busy(platform: Installation, node: FakeNode) -> AsyncIterator[str]:
    """A run at work on a node that works."""
    run = f"busy-{new()}"
    await apply(once(run, "fake-works"))
    try:
        await at_work(platform, run)
        yield run
    finally:
        await node.reopen()
        await delete("run", run)
        await platform.gone("pod", f"{run}-1")


@pytest.mark.failure("drained")
async def test_a_drained_node_ends_its_runs(
    platform: Installation, node: FakeNode, busy: str
) -> None:
    await kubectl("drain", node.name, "--delete-emptydir-data", "--timeout=60s")
    await check_failure(platform, busy, "drained")


@pytest.mark.failure("tainted")
async def test_a_node_that_is_tainted_ends_its_runs(
    platform: Installation, node: FakeNode, busy: str
) -> None:
    await kubectl("taint", "node", node.name, "maintenance=now:NoExecute")
    await check_failure(platform, busy, "tainted")


@pytest.mark.failure("node-shut-down")
async def test_a_node_that_shuts_down_ends_its_runs(platform: Installation, busy: str) -> None:
    # As the kubelet leaves the pods it ends when its machine is shut down.
    said = "Pod was terminated in response to imminent node shutdown."
    target = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
    pod = await pod_of(busy)
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
    await merge("pod", f"{busy}-1", {"status": status}, subresource="status")
    await check_failure(platform, busy, "node-shut-down")


@pytest.mark.failure("preempted")
async def test_a_pod_of_higher_priority_preempts_a_run(
    platform: Installation, node: FakeNode, busy: str
) -> None:
    priority = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "matters-more"},
        "value": 1000,
    }
    first = node.profile(
        "fake-first",
        pod={"priorityClassName": "matters-more"},
        resources={"requests": {"cpu": "3"}},
    )
    rival = f"matters-more-{new()}"
    await apply(priority, first)
    await apply(once(rival, "fake-first"))
    try:
        await check_failure(platform, busy, "preempted")
    finally:
        await platform.client.cancel(rival)
        await delete("run", rival)
        await delete("aprofile", "fake-first")
        await delete("priorityclass", "matters-more", namespace="")


async def test_a_pod_that_was_lost_before_the_agent_had_its_task_is_replaced(
    platform: Installation, node: FakeNode
) -> None:
    run = f"early-{new()}"
    await apply(a_run(run, profile="fake-early"))
    try:
        # A drain passes over what the scheduler has not yet placed.
        await until("pod", f"{run}-1", lambda pod: bool(pod and pod["spec"].get("nodeName")))
        await kubectl("drain", node.name, "--delete-emptydir-data", "--timeout=60s")
        await kubectl("uncordon", node.name)
        await platform.gone("pod", f"{run}-1")
        await pod_of(run, 2)
        assert await pods_of(run) == [f"{run}-2"]
        answer = await platform.client.cancel(run)
        assert answer["status"] == "cancelled"
    finally:
        await node.reopen()
        await delete("run", run)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lost(losing: "asyncio.Task[Loss]") -> Loss:
    """The nodes when all has come of their loss that comes by itself."""
    return await losing


async def test_a_run_on_a_lost_node_reports_it_and_does_not_end(
    platform: Installation, lost: Loss
) -> None:
    run = lost.run("plain")
    status = await platform.status(run)
    assert (status["phase"], status["reason"]) == ("Running", "NodeLost")
    assert condition(status, "PodTerminated") == ("Unknown", "NodeLost")
    assert status["message"].startswith(f"Node fake-away does not confirm that pod {run}-1")
    assert await pods_of(run) == [f"{run}-1"]


async def test_the_next_run_of_its_session_waits(platform: Installation, lost: Loss) -> None:
    status = await platform.status(lost.run(NEXT))
    assert (status["phase"], status["reason"]) == ("Queued", "SessionBusy")
    assert await pods_of(lost.run(NEXT)) == []


async def test_a_cancelled_run_stays_cancelling_until_its_pod_is_known_to_be_deleted(
    platform: Installation, lost: Loss
) -> None:
    run = lost.run("cancelled")
    answer = await platform.client.call("cancel_run", run_id=run, wait_ms=2_000)
    assert answer["status"] not in TERMINAL_STATUSES
    status = await platform.reaches(run, "Cancelling")
    assert (status["phase"], status["reason"]) == ("Cancelling", "NodeLost")
    assert condition(status, "PodTerminated") == ("Unknown", "NodeLost")
    assert condition(status, "CancelRequested")[0] == "True"


async def test_a_lost_pod_is_not_replaced_before_it_is_deleted(
    platform: Installation, lost: Loss
) -> None:
    run = lost.run("replaced")
    assert (await platform.status(run))["attempts"] == 1
    assert await pods_of(run) == [f"{run}-1"]


@pytest.mark.failure("node-lost-pod-removed-by-force")
async def test_force_deleting_the_pod_ends_the_run(platform: Installation, lost: Loss) -> None:
    run = lost.run("forced")
    await api().delete("pod", f"{run}-1", RUNS, grace_seconds=0)
    await check_failure(platform, run, "node-lost-pod-removed-by-force")


@pytest.mark.failure("node-removed")
async def test_a_run_whose_node_was_removed_ends_when_its_pod_is_garbage_collected(
    platform: Installation, lost: Loss
) -> None:
    await check_failure(platform, lost.run(ORPHAN), "node-removed")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def back(lost: Loss) -> Loss:
    """The same when the node that was away is back; what needs it away was tested before."""
    await lost.away.start()
    return lost


@pytest.mark.failure("node-lost")
async def test_a_lost_run_ends_when_its_node_is_back(platform: Installation, back: Loss) -> None:
    await check_failure(platform, back.run("plain"), "node-lost")


async def test_a_cancelled_run_is_cancelled_when_its_node_is_back(
    platform: Installation, back: Loss
) -> None:
    run, _ = await platform.client.finish(back.run("cancelled"))
    assert run["status"] == "cancelled"
    assert await pods_of(back.run("cancelled")) == []


async def test_a_lost_pod_is_replaced_after_it_is_deleted(
    platform: Installation, back: Loss
) -> None:
    run = back.run("replaced")
    await platform.gone("pod", f"{run}-1", TIMES)
    await pod_of(run, 2)
    assert await pods_of(run) == [f"{run}-2"]
    status = await platform.status(run)
    assert (status["phase"], status["attempts"]) in (("Queued", 2), ("Starting", 2))


async def test_the_next_run_of_the_session_then_starts(platform: Installation, back: Loss) -> None:
    await platform.client.finish(back.run("plain"))
    run = back.run(NEXT)
    await pod_of(run)
    assert await pods_of(run) == [f"{run}-1"]


async def test_a_run_continues_if_its_node_is_back_in_time(
    platform: Installation, back: Loss
) -> None:
    run = back.run(PATIENT)
    pod = await pod_of(run)
    assert "deletionTimestamp" not in pod["metadata"]
    status = await platform.status(run)
    assert (status["phase"], status["reason"], status["attempts"]) == ("Running", "Working", 1)
    assert status["podUID"] == pod["metadata"]["uid"]
    answer = await platform.client.cancel(run)
    assert answer["status"] == "cancelled"
