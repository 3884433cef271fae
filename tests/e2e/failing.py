"""Holding a run that went wrong to what the catalogue of failures promises of it."""

import asyncio
import json
import re
from typing import Any

from dev.failures import find
from dev.failures.row import Failure
from dev.front_door import FrontDoor
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, eventually, get, items, kubectl, processes_of

LONGEST_MESSAGE = 4096

Json = dict[str, Any]


async def check_failure(door: FrontDoor, run_id: str, key: str, namespace: str = RUNS) -> Json:
    """
    Wait for the end of a run and compare everything that users see of it with the row of ``key``.

    Returns what get_run answers.
    """
    row = find(key)
    run, events = await door.finish(run_id)
    found = await get("run", run_id, namespace)
    assert found is not None, f"{run_id} is gone"
    _compare(row, found["status"], run)
    check_journal(events, row.phase.status)
    line = await kubectl("get", "run", run_id, "-n", namespace, "--no-headers")
    assert {row.phase, row.reason} <= set(line.split()), line
    await _told(row, run_id, namespace)
    if uid := found["status"].get("podUID"):
        # The kubelet takes the pod's empty sandbox down a moment after its containers ended.
        await eventually(
            lambda: asyncio.to_thread(processes_of, uid),
            lambda left: all("/pause" in one for one in left),
            10,
        )
    return run


def _compare(row: Failure, status: Json, run: Json) -> None:
    seen = json.dumps({"status": status, "get_run": run}, indent=1)
    message = status.get("message", "")
    assert (status["phase"], status["reason"]) == (row.phase, row.reason), f"{row}\n{seen}"
    assert re.search(row.message, message, re.DOTALL), f"{row.message!r} is not in\n{seen}"
    assert len(message) <= LONGEST_MESSAGE, seen
    assert (run["status"], run["reason"]) == (row.phase.status, row.reason), seen
    assert run["message"] == message, seen
    if row.phase.status == "failed":
        assert run["error"] == message, seen
        assert run["summary"] == f"Run failed: {message}", seen


async def _told(row: Failure, run_id: str, namespace: str) -> None:
    """Find the Kubernetes Event that tells of the end."""

    async def told() -> list[Json]:
        selection = f"involvedObject.name={run_id},reason={row.reason}"
        return await items("events", "--field-selector", selection, namespace=namespace)

    await eventually(
        told, lambda found: any(one["message"].startswith(f"{row.phase}: ") for one in found), 20
    )
