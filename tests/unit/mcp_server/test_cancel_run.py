import asyncio
from typing import Any

import pytest

from agentrun.kube.errors import ApiUnavailableError
from agentrun.kube.resources import RUNS
from tests.unit.mcp_server.cluster import pod
from tests.unit.mcp_server.conftest import Bench, eventually

LONG = 30_000


def stored(bench: Bench, name: str) -> dict[str, Any]:
    return bench.cluster.objects["agentruns", "team-a", name]


async def asked_for(bench: Bench, name: str) -> None:
    async def is_asked_for() -> bool:
        return bool(stored(bench, name)["spec"].get("desiredState") == "Cancelled")

    await eventually(is_asked_for)


async def test_cancel_waits_until_the_pod_of_the_run_is_deleted(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    asking = bench.call("cancel_run", run_id=name, wait_ms=LONG, reason="wrong branch")
    cancelling = asyncio.create_task(asking)
    await asked_for(bench, name)
    assert stored(bench, name)["spec"]["cancellation"] == {
        "requestedBy": bench.caller.username,
        "reason": "wrong branch",
    }
    at = "2026-11-23T12:00:09Z"
    bench.cluster.set_status("team-a", name, phase="Cancelled", cancelledAt=at)
    assert await asyncio.wait_for(cancelling, 20) == {
        "run_id": name,
        "status": "cancelled",
        "cancelled_at": "2026-11-23T12:00:09.000Z",
    }


async def test_a_cancel_without_a_wait_returns_cancelling(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    answer = await bench.call("cancel_run", run_id=name, wait_ms=0)
    assert answer == {"run_id": name, "status": "cancelling", "cancelled_at": None}
    assert (await bench.call("get_run", run_id=name))["status"] == "cancelling"


async def test_a_second_cancel_returns_the_same_and_changes_nothing(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    await bench.call("cancel_run", run_id=name, wait_ms=0, reason="first")
    await bench.call("cancel_run", run_id=name, wait_ms=0, reason="second")
    assert stored(bench, name)["spec"]["cancellation"]["reason"] == "first"
    at = "2026-11-23T12:00:09Z"
    bench.cluster.set_status("team-a", name, phase="Cancelled", cancelledAt=at)
    first = await bench.call("cancel_run", run_id=name, wait_ms=LONG)
    assert first == await bench.call("cancel_run", run_id=name, wait_ms=LONG)
    assert first["cancelled_at"] == "2026-11-23T12:00:09.000Z"
    assert bench.cluster.requests.count(("patch", "agentruns")) == 1


async def test_two_cancels_at_once_both_succeed(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]

    bench.cluster.before_patch = lambda: bench.cluster.set_spec(
        "team-a", name, desiredState="Cancelled", cancellation={"requestedBy": "bob"}
    )
    answer = await bench.call("cancel_run", run_id=name, wait_ms=0)
    assert answer["status"] == "cancelling"
    assert stored(bench, name)["spec"]["cancellation"] == {"requestedBy": "bob"}


async def test_a_cancellation_reason_given_with_kubectl_is_kept(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    bench.cluster.set_spec("team-a", name, cancellation={"reason": "by hand"})
    await bench.call("cancel_run", run_id=name, wait_ms=0)
    assert stored(bench, name)["spec"]["cancellation"] == {"reason": "by hand"}


@pytest.mark.parametrize("phase", ["Completed", "Failed", "Rejected"])
async def test_a_run_that_ended_otherwise_cannot_be_cancelled(bench: Bench, phase: str) -> None:
    name = (await bench.spawn())["run_id"]
    await bench.run_sync.observe(bench.cluster.set_status("team-a", name, phase=phase))
    text = await bench.refused("cancel_run", run_id=name)
    assert text.startswith(f"run is already terminal: {phase.lower()}")
    assert ("patch", "agentruns") not in bench.cluster.requests


async def test_a_run_that_completes_concurrently_is_not_cancelled(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    bench.cluster.before_patch = lambda: bench.cluster.set_status("team-a", name, phase="Completed")
    text = await bench.refused("cancel_run", run_id=name, wait_ms=LONG)
    assert text.startswith("run is already terminal: completed")


async def test_a_run_that_completed_before_its_row_was_updated_is_not_cancelled(
    bench: Bench,
) -> None:
    name = (await bench.spawn())["run_id"]
    bench.cluster.set_status("team-a", name, phase="Completed")
    text = await bench.refused("cancel_run", run_id=name, wait_ms=0)
    assert text.startswith("run is already terminal: completed")


async def test_cancelling_a_deleted_run_waits_for_the_deletion_of_its_pod(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    made = bench.cluster.set_status("team-a", name, phase="Running", attempts=1)
    there = pod(f"{name}-1", made["metadata"]["uid"])
    bench.cluster.objects["pods", "team-a", f"{name}-1"] = there
    bench.cluster.remove(RUNS, "team-a", name)

    async def is_deleted() -> bool:
        return (await bench.row(name)).deleted_at is not None

    await eventually(is_deleted)
    answer = await bench.call("cancel_run", run_id=name, wait_ms=0)
    assert answer["status"] == "cancelling"
    del bench.cluster.objects["pods", "team-a", f"{name}-1"]
    answer = await bench.call("cancel_run", run_id=name, wait_ms=LONG)
    assert (answer["status"], answer["cancelled_at"]) == ("cancelled", "2026-11-23T12:00:05.000Z")


async def test_a_cancel_ends_its_wait_when_the_process_stops(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    cancelling = asyncio.create_task(bench.call("cancel_run", run_id=name, wait_ms=LONG))
    await asked_for(bench, name)
    bench.tool_context.stopping.set()
    assert (await asyncio.wait_for(cancelling, 20))["status"] == "cancelling"


async def test_a_cancel_without_an_api_server_reports_it(bench: Bench) -> None:
    name = (await bench.spawn())["run_id"]
    bench.cluster.faults["patch", "agentruns"] = [ApiUnavailableError("connection refused")]
    text = await bench.refused("cancel_run", run_id=name)
    assert text.startswith("The Kubernetes API server is unavailable: connection refused")
