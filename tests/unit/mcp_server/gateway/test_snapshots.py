"""Snapshots: what an attempt goes on from, and how its files come and go."""

from typing import Any

import pytest

from agentrun.api.gateway import MAX_SNAPSHOT_PART_BYTES, Task, blob_key
from agentrun.api.v1alpha1 import AgentRun, AgentSessionStatus, AgentStatus, SessionSpec, Snapshot
from mcp_server.gateway.reports import merge_state
from tests.unit.mcp_server.gateway.conftest import World, the_run

SECOND = "team/run-1-2/pod-2"
OWN = Snapshot(name="snapshots/1", session_id="mine", acknowledged_input=2)


def a_second_attempt(**agent: Any) -> AgentRun:
    said = {"attempt": 1, "acknowledged_input": 3, **agent}
    run = the_run(attempts=2, pod_name="run-1-2", pod_uid="pod-2", agent=AgentStatus(**said))
    run.metadata.resource_version = "20"
    return run


def resuming(run: AgentRun) -> AgentRun:
    session = SessionSpec(mode="resume", name="run-1")
    run.spec = run.spec.model_copy(update={"session": session})
    return run


async def task_of(world: World, token: str = SECOND) -> Task:
    answer = await world.call("GET", "/v1/task", token=token)
    assert answer.status_code == 200, answer.text
    return Task.model_validate_json(answer.content)


async def test_a_later_attempt_resumes_from_the_snapshot_of_its_own_run(world: World) -> None:
    session = world.runs.sessions["run-1"]
    session.status = AgentSessionStatus(session_id="theirs", snapshot="uid-0/snapshots/7")
    await world.see(resuming(a_second_attempt(snapshot=OWN)))
    task = await task_of(world)
    assert task.snapshot == OWN
    assert task.acknowledged_input == 2, "what came after the snapshot is given again"


async def test_a_snapshot_that_lacks_later_messages_is_not_resumed(
    world: World,
) -> None:
    await world.see(a_second_attempt(snapshot=OWN, snapshot_error="It is too large."))
    task = await task_of(world)
    assert (task.snapshot, task.acknowledged_input) == (None, 3)


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"snapshot": "uid-0/snapshots/7", "snapshot_error": "lost"}, id="an-error"),
        pytest.param({"snapshot": "elsewhere"}, id="what-an-older-version-wrote"),
    ],
)
async def test_a_session_without_a_usable_snapshot_returns_none(
    world: World, status: dict[str, Any]
) -> None:
    world.runs.sessions["run-1"].status = AgentSessionStatus(session_id="theirs", **status)
    await world.see(resuming(a_second_attempt()))
    assert (await task_of(world)).snapshot is None
    assert (await world.call("GET", "/v1/snapshot/manifest.json", token=SECOND)).status_code == 404


async def test_snapshot_files_are_read_from_the_run_that_owns_them(world: World) -> None:
    session = world.runs.sessions["run-1"]
    session.status = AgentSessionStatus(session_id="theirs", snapshot="uid-0/snapshots/7")
    for name, body in (("manifest.json", b"{}"), ("part-0001", b"x" * 300_000)):
        await world.blobs.put(blob_key("uid-0", f"snapshots/7/{name}"), body, "x/y")
    await world.see(resuming(a_second_attempt()))
    for name, size in (("manifest.json", 2), ("part-0001", 300_000)):
        answer = await world.call("GET", f"/v1/snapshot/{name}", token=SECOND)
        assert (answer.status_code, len(answer.content)) == (200, size)
        assert answer.headers["content-length"] == str(size)
    for name in ("part-0002", "other", "..%2Fmanifest.json"):
        answer = await world.call("GET", f"/v1/snapshot/{name}", token=SECOND)
        assert answer.status_code == 404, name


async def test_a_run_that_starts_afresh_reads_no_snapshot(world: World) -> None:
    session = world.runs.sessions["run-1"]
    session.status = AgentSessionStatus(session_id="theirs", snapshot="uid-0/snapshots/7")
    await world.blobs.put(blob_key("uid-0", "snapshots/7/manifest.json"), b"{}", "x/y")
    assert (await world.call("GET", "/v1/snapshot/manifest.json")).status_code == 404


async def test_the_size_of_a_snapshot_file_is_limited(world: World) -> None:
    path = "/v1/blobs/snapshots/1/part-0001"
    body = b"x" * (MAX_SNAPSHOT_PART_BYTES + 1)
    assert (await world.call("PUT", path, body)).status_code == 413
    assert (await world.call("PUT", path, body[1:])).status_code == 200


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        pytest.param({}, ("snapshots/1", "It is too large."), id="what-is-not-said-stays"),
        pytest.param({"snapshot": OWN}, ("snapshots/1", None), id="a-snapshot-mends-an-error"),
        pytest.param({"snapshot_error": "No."}, ("snapshots/1", "No."), id="a-newer-error"),
    ],
)
def test_a_snapshot_and_its_error_are_recorded_together(said: Any, kept: Any) -> None:
    before = AgentStatus(snapshot=OWN, snapshot_error="It is too large.")
    after = merge_state(before, AgentStatus(**said), 2)
    assert after.snapshot is not None
    assert (after.snapshot.name, after.snapshot_error) == kept


async def kept(world: World) -> set[int]:
    """Which attempts' snapshots are there."""
    names = {n: blob_key("uid-1", f"snapshots/{n}/manifest.json") for n in (1, 12)}
    return {number for number, key in names.items() if await world.blobs.size(key) is not None}


async def test_a_snapshot_is_deleted_once_a_newer_one_of_its_run_replaces_it(world: World) -> None:
    await world.see(a_second_attempt(snapshot=OWN))
    for number in (1, 12):
        key = blob_key("uid-1", f"snapshots/{number}/manifest.json")
        await world.blobs.put(key, b"{}", "x/y")
    for name, left in (("snapshots/1", {1, 12}), ("snapshots/12", {12})):
        snapshot = OWN.model_copy(update={"name": name})
        said = {"state": "Working", "snapshot": snapshot.to_json()}
        assert (await world.call("POST", "/v1/state", said, token=SECOND)).status_code == 200
        assert await kept(world) == left


async def test_a_report_is_accepted_although_the_old_snapshot_cannot_be_deleted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.blobs.failure = OSError("The disk is away.")
    await world.see(a_second_attempt(snapshot=OWN))
    newer = OWN.model_copy(update={"name": "snapshots/2"})
    said = {"state": "Working", "snapshot": newer.to_json()}
    assert (await world.call("POST", "/v1/state", said, token=SECOND)).status_code == 200
    assert "runs/uid-1/snapshots/1/ could not be deleted" in caplog.text
