import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agentrun.api.events import EventType
from agentrun.api.v1alpha1 import AgentRun
from agentrun.kube.api import Object
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import NAMESPACES, PODS, RUNS, SESSIONS
from mcp_server.schemas.run_views import timestamp
from mcp_server.watches.run_sync import RunSync
from tests.memory_store import MemoryRunStore
from tests.unit.mcp_server.cluster import FakeCluster, orphaned_pod, pod, run, session
from tests.unit.mcp_server.conftest import NOW, Bench, eventually

AWAY = ApiUnavailableError("connection refused")


async def seals(store: MemoryRunStore, uid: str) -> list[dict[str, Any]]:
    return [
        event.data
        for event in await store.read(uid, 0, 100)
        if event.type is EventType.STATUS_CHANGED
    ]


async def until_sealed(store: MemoryRunStore, uid: str) -> None:
    async def is_sealed() -> bool:
        return (await store.head(uid)).sealed

    await eventually(is_sealed)


async def until_phase(bench: Bench, name: str, phase: str) -> None:
    async def is_there() -> bool:
        row = await bench.store.get_run("team-a", name)
        return row is not None and row.run.phase == phase

    await eventually(is_there)


async def test_a_run_created_with_kubectl_gets_a_row_with_its_session(bench: Bench) -> None:
    bench.cluster.add(RUNS, "team-a", run())
    await until_phase(bench, "run-1", "Queued")
    assert (await bench.row("run-1")).session_uid == ""
    made = bench.cluster.add(SESSIONS, "team-a", session("run-1"))
    bench.cluster.set_status("team-a", "run-1", phase="Starting")
    await until_phase(bench, "run-1", "Starting")
    assert (await bench.row("run-1")).session_uid == made["metadata"]["uid"]


async def test_the_journal_of_a_run_that_ended_is_sealed_with_its_status(bench: Bench) -> None:
    made = bench.cluster.add(RUNS, "team-a", run())
    bench.cluster.set_status(
        "team-a",
        "run-1",
        phase="Cancelled",
        reason="CancelRequested",
        message="Stopped.",
        completionTime="2026-11-23T12:01:00Z",
        cancelledAt="2026-11-23T12:01:00Z",
    )
    uid = made["metadata"]["uid"]
    await until_sealed(bench.store, uid)
    assert await seals(bench.store, uid) == [
        {
            "status": "cancelled",
            "reason": "CancelRequested",
            "message": "Stopped.",
            "completed_at": "2026-11-23T12:01:00.000Z",
            "cancelled_at": "2026-11-23T12:01:00.000Z",
        }
    ]


async def test_a_late_version_does_not_revert_a_row(bench: Bench) -> None:
    first = bench.cluster.add(RUNS, "team-a", run())
    bench.cluster.set_status("team-a", "run-1", phase="Running")
    await until_phase(bench, "run-1", "Running")
    await bench.run_sync.observe(first)
    assert (await bench.row("run-1")).run.phase == "Running"


async def test_an_object_that_is_no_run_is_skipped_and_the_others_are_recorded(
    bench: Bench,
) -> None:
    bench.cluster.add(RUNS, "team-a", run("odd", backend="unheard-of"))
    bench.cluster.add(RUNS, "team-a", run())
    await until_phase(bench, "run-1", "Queued")
    assert await bench.store.get_run("team-a", "odd") is None


async def test_an_expired_watch_is_followed_by_a_new_list(bench: Bench) -> None:
    lists = bench.cluster.requests.count(("list", "agentruns"))
    bench.cluster.forget_history()
    bench.cluster.add(RUNS, "team-a", run())
    await until_phase(bench, "run-1", "Queued")

    async def has_listed() -> bool:
        return bench.cluster.requests.count(("list", "agentruns")) >= lists + 2

    await eventually(has_listed)
    assert bench.run_sync.is_ready


async def test_an_outage_ends_readiness_and_changes_during_it_are_found(bench: Bench) -> None:
    made = bench.cluster.add(RUNS, "team-a", run())
    await until_phase(bench, "run-1", "Queued")
    bench.cluster.begin_outage(AWAY)

    async def is_out() -> bool:
        return not bench.run_sync.is_ready

    await eventually(is_out)
    bench.cluster.set_status("team-a", "run-1", phase="Completed")
    bench.cluster.outage = None
    await until_sealed(bench.store, made["metadata"]["uid"])
    assert bench.run_sync.is_ready


async def test_changes_that_the_store_could_not_record_are_recorded_when_it_is_back(
    bench: Bench,
) -> None:
    bench.store.failure = OSError("disk full")
    made = bench.cluster.add(RUNS, "team-a", run())
    bench.cluster.set_status("team-a", "run-1", phase="Completed")

    async def is_out() -> bool:
        return not bench.run_sync.is_ready

    await eventually(is_out)
    bench.store.failure = None
    await until_sealed(bench.store, made["metadata"]["uid"])


async def test_a_finished_run_that_is_deleted_keeps_its_status(bench: Bench) -> None:
    bench.cluster.add(RUNS, "team-a", run())
    bench.cluster.set_status("team-a", "run-1", phase="Completed")
    bench.cluster.remove(RUNS, "team-a", "run-1")

    async def is_deleted() -> bool:
        row = await bench.store.get_run("team-a", "run-1")
        return row is not None and row.deleted_at is not None

    await eventually(is_deleted)
    shown = await bench.call("get_run", run_id="run-1")
    assert (shown["status"], shown["deleted_at"]) == ("completed", "2026-11-23T12:00:05.000Z")


async def test_an_active_run_that_is_deleted_is_cancelled_once_its_pod_is_deleted(
    bench: Bench,
) -> None:
    made = bench.cluster.add(RUNS, "team-a", run())
    uid = made["metadata"]["uid"]
    bench.cluster.add(PODS, "team-a", pod("run-1-1", uid))
    bench.cluster.set_status("team-a", "run-1", phase="Running", attempts=1)
    bench.cluster.remove(RUNS, "team-a", "run-1")

    async def has_looked_for_the_pod() -> bool:
        return ("get", "pods") in bench.cluster.requests

    await eventually(has_looked_for_the_pod)
    assert not (await bench.store.head(uid)).sealed
    bench.cluster.remove(PODS, "team-a", "run-1-1")
    await until_sealed(bench.store, uid)
    shown = await bench.call("get_run", run_id="run-1")
    assert (shown["status"], shown["reason"]) == ("cancelled", "Deleted")
    (last,) = await seals(bench.store, uid)
    assert (last["status"], last["reason"]) == ("cancelled", "Deleted")


async def test_a_pod_that_is_created_while_its_run_is_deleted_is_waited_for(bench: Bench) -> None:
    made = bench.cluster.add(RUNS, "team-a", run())
    uid = made["metadata"]["uid"]
    bench.cluster.set_status("team-a", "run-1", phase="Queued", attempts=1)
    bench.cluster.remove(RUNS, "team-a", "run-1")

    async def has_looked_for_the_pod() -> bool:
        return ("get", "pods") in bench.cluster.requests

    await eventually(has_looked_for_the_pod)
    bench.cluster.add(PODS, "team-a", pod("run-1-1", uid))
    bench.cluster.requests.clear()
    await eventually(has_looked_for_the_pod)
    assert not (await bench.store.head(uid)).sealed
    bench.cluster.remove(PODS, "team-a", "run-1-1")
    await until_sealed(bench.store, uid)


@pytest.fixture
async def follow() -> Any:
    """Start an archive, as a process does, and end it after the test."""
    tasks: list[asyncio.Task[None]] = []

    async def start(cluster: FakeCluster, store: MemoryRunStore) -> RunSync:
        run_sync = RunSync(cluster, store, ["team-a"], now=lambda: NOW, pauses=(0.0,))
        tasks.append(asyncio.create_task(run_sync.run()))
        return run_sync

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def known_run(cluster: FakeCluster, store: MemoryRunStore, **status: Any) -> str:
    """Make a run that an earlier process has recorded."""
    cluster.add(RUNS, "team-a", run())
    made = cluster.set_status("team-a", "run-1", **status)
    await RunSync(cluster, store, ["team-a"], now=lambda: NOW).observe(made)
    return str(made["metadata"]["uid"])


async def test_a_run_that_ended_during_downtime_is_sealed(follow: Any) -> None:
    cluster, store = FakeCluster(), MemoryRunStore()
    uid = await known_run(cluster, store, phase="Running", attempts=1)
    cluster.set_status("team-a", "run-1", phase="Failed", reason="Evicted")
    await follow(cluster, store)
    await until_sealed(store, uid)
    assert await seals(store, uid) == [{"status": "failed", "reason": "Evicted"}]


@pytest.mark.parametrize("build", [pod, orphaned_pod])
@pytest.mark.parametrize("there", ["run-1-1", "run-1-2"])
async def test_a_run_deleted_during_downtime_is_cancelled_once_its_pod_is_deleted(
    follow: Any, there: str, build: Callable[[str, str], Object]
) -> None:
    cluster, store = FakeCluster(), MemoryRunStore()
    uid = await known_run(cluster, store, phase="Running", attempts=1)
    cluster.remove(RUNS, "team-a", "run-1")
    cluster.add(PODS, "team-a", build(there, uid))
    await follow(cluster, store)

    async def has_looked_for_the_pod() -> bool:
        return ("get", "pods") in cluster.requests

    await eventually(has_looked_for_the_pod)
    row = await store.get_run_by_uid(uid)
    assert row is not None
    assert (row.deleted_at, row.run.phase, row.sealed) == (NOW, "Running", False)
    cluster.remove(PODS, "team-a", there)
    await until_sealed(store, uid)
    row = await store.get_run_by_uid(uid)
    assert row is not None
    assert (row.run.phase, row.run.status.reason) == ("Cancelled", "Deleted")


async def test_a_finalization_that_a_restart_interrupted_is_resumed(follow: Any) -> None:
    cluster, store = FakeCluster(), MemoryRunStore()
    uid = await known_run(cluster, store, phase="Running", attempts=1)
    deleted = cluster.objects["agentruns", "team-a", "run-1"]
    cluster.add(PODS, "team-a", pod("run-1-1", uid))
    first = RunSync(cluster, store, ["team-a"], now=lambda: NOW, pauses=(0.0,))
    await first.observe(deleted, deleted=True)
    cluster.remove(RUNS, "team-a", "run-1")
    cluster.remove(PODS, "team-a", "run-1-1")
    await follow(cluster, store)
    await until_sealed(store, uid)


async def test_a_pod_of_another_run_of_the_same_name_is_not_waited_for(follow: Any) -> None:
    cluster, store = FakeCluster(), MemoryRunStore()
    uid = await known_run(cluster, store, phase="Running", attempts=1)
    cluster.remove(RUNS, "team-a", "run-1")
    again = cluster.add(RUNS, "team-a", run())
    cluster.add(PODS, "team-a", pod("run-1-1", again["metadata"]["uid"]))
    await follow(cluster, store)
    await until_sealed(store, uid)
    assert not (await store.head(again["metadata"]["uid"])).sealed


async def test_a_run_newer_than_the_list_is_not_considered_deleted(follow: Any) -> None:
    cluster, store = FakeCluster(), MemoryRunStore()
    uid = await known_run(cluster, store, phase="Queued")
    listed = cluster.list

    async def list_before_the_run_was_made(*given: Any) -> Any:
        await listed(*given)
        return [], "1"

    cluster.list = list_before_the_run_was_made  # type: ignore[method-assign, assignment]
    run_sync = await follow(cluster, store)

    async def is_ready() -> bool:
        return bool(run_sync.is_ready)

    await eventually(is_ready)
    row = await store.get_run_by_uid(uid)
    assert row is not None
    assert row.deleted_at is None


async def test_replicas_that_finalize_the_same_run_record_one_end(follow: Any) -> None:
    cluster, store = FakeCluster(), MemoryRunStore()
    uid = await known_run(cluster, store, phase="Running", attempts=1)
    deleted = cluster.objects["agentruns", "team-a", "run-1"]
    cluster.remove(RUNS, "team-a", "run-1")
    late = RunSync(cluster, store, ["team-a"], now=lambda: NOW + timedelta(seconds=9))
    await follow(cluster, store)
    await until_sealed(store, uid)
    await late._close_record(AgentRun.model_validate(deleted))
    (last,) = await seals(store, uid)
    row = await store.get_run_by_uid(uid)
    assert row is not None
    assert last["completed_at"] == timestamp(row.run.status.completion_time) == timestamp(NOW)


async def test_several_replicas_record_each_event_once(follow: Any) -> None:
    cluster, store = FakeCluster(), MemoryRunStore()
    for _ in range(3):
        await follow(cluster, store)
    made = cluster.add(RUNS, "team-a", run())
    cluster.set_status("team-a", "run-1", phase="Running")
    cluster.set_status("team-a", "run-1", phase="Failed", reason="Evicted")
    uid = made["metadata"]["uid"]
    await until_sealed(store, uid)
    assert await seals(store, uid) == [{"status": "failed", "reason": "Evicted"}]


FORBIDDEN = ApiError(403, "Forbidden", "agentruns is forbidden")


def close_namespace(cluster: FakeCluster) -> None:
    """Take a namespace away, and the rights in it, while its name can still be asked for."""
    for verb, plural in (("list", "agentruns"), ("get", "pods")):
        cluster.faults[verb, plural] = [FORBIDDEN] * 1000


async def test_runs_of_a_namespace_that_was_deleted_during_downtime_are_cancelled(
    follow: Any,
) -> None:
    cluster, store = FakeCluster(), MemoryRunStore()
    uid = await known_run(cluster, store, phase="Running", attempts=1)
    cluster.remove(RUNS, "team-a", "run-1")
    close_namespace(cluster)
    run_sync = await follow(cluster, store)
    await until_sealed(store, uid)
    row = await store.get_run_by_uid(uid)
    assert row is not None
    assert (row.run.phase, row.run.status.reason) == ("Cancelled", "Deleted")
    assert run_sync.is_ready


async def test_a_forbidden_namespace_keeps_its_runs_and_does_not_affect_others(
    follow: Any,
) -> None:
    cluster, store = FakeCluster(), MemoryRunStore()
    uid = await known_run(cluster, store, phase="Running", attempts=1)
    cluster.add(NAMESPACES, "team-a", {"metadata": {"name": ""}})
    close_namespace(cluster)
    run_sync = await follow(cluster, store)

    async def has_asked_often() -> bool:
        return cluster.requests.count(("list", "agentruns")) > 5

    await eventually(has_asked_often)
    assert run_sync.is_ready
    row = await store.get_run_by_uid(uid)
    assert row is not None
    assert (row.deleted_at, row.sealed) == (None, False)
    cluster.faults.clear()
    cluster.set_status("team-a", "run-1", phase="Completed")
    await until_sealed(store, uid)
