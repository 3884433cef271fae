"""Holding runs that go wrong to what the catalogue of failures promises of them."""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from dev.failures import find
from dev.failures.row import Failure
from dev.front_door import FrontDoor
from tests.e2e.agents import trivial
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, Json, eventually, get, items, kubectl, processes_of

LONGEST_MESSAGE = 4096

T = TypeVar("T", bound=Callable[..., Any])


def promised(*keys: str) -> Callable[[T], T]:
    """Hold the decorated test, with its argument ``key``, to each of these rows."""
    params = [pytest.param(key, id=key, marks=pytest.mark.failure(key)) for key in keys]
    mark: Callable[[T], T] = pytest.mark.parametrize("key", params)
    return mark


@dataclass
class Place:
    """A front door and a namespace of runs behind it."""

    door: FrontDoor
    namespace: str = RUNS
    runs: dict[str, str] = field(default_factory=dict)
    """Runs that were spawned together, by the row that each is held to."""

    async def spawn(self, profile: str, *steps: list[Any], **more: Any) -> str:
        """Spawn a run of the trivial agent and return its id."""
        prompt = trivial(*(steps or [["say", "hello"]]))
        spawned = await self.door.call(
            "spawn_run", backend="acp", role="worker", profile=profile, prompt=prompt, **more
        )
        return str(spawned["run_id"])

    async def spawn_all(self, wanted: dict[str, dict[str, Any]]) -> None:
        """
        Spawn a run for each row, all at once, so that they wait for their bounds together.

        ``steps`` is what the trivial agent does; the rest are arguments of spawn_run, of which
        the profile is named like the row unless it is told.
        """

        async def spawn(profile: str, steps: Sequence[list[Any]] = (), **more: Any) -> str:
            return await self.spawn(profile, *steps, **more)

        ids = await asyncio.gather(
            *(spawn(**{"profile": key, **more}) for key, more in wanted.items())
        )
        self.runs |= dict(zip(wanted, ids, strict=True))

    async def run(self, run_id: str) -> Json:
        """Return the AgentRun."""
        found = await get("run", run_id, self.namespace)
        assert found is not None, f"{run_id} is gone"
        return found

    async def until(self, run_id: str, phase: str, reason: str = "", seconds: float = 120) -> Json:
        """Wait until a run is in a phase, for a reason."""

        def is_so(run: Json) -> bool:
            status = run.get("status", {})
            return status.get("phase") == phase and reason in ("", status.get("reason"))

        return await eventually(lambda: self.run(run_id), is_so, seconds)

    async def check(self, run_id: str, key: str) -> Json:
        """
        Wait for a run's end and compare all that its users see with the row of ``key``.

        Returns what get_run answers.
        """
        row = find(key)
        run, events = await self.door.finish(run_id)
        found = await self.run(run_id)
        _compare(row, found["status"], run)
        check_journal(events, row.phase.status)
        line = await kubectl("get", "run", run_id, "-n", self.namespace, "--no-headers")
        assert {row.phase, row.reason} <= set(line.split()), line
        await self._is_told(row, run_id)
        if uid := found["status"].get("podUID"):
            # The kubelet takes the pod's empty sandbox down a moment after its containers ended.
            await eventually(
                lambda: asyncio.to_thread(processes_of, uid),
                lambda left: all("/pause" in one for one in left),
                60,
            )
        return run

    async def _is_told(self, row: Failure, run_id: str) -> None:
        """Find the Kubernetes Event that tells of the end."""

        async def told() -> list[Json]:
            chosen = f"involvedObject.name={run_id},reason={row.reason}"
            return await items("events", "--field-selector", chosen, namespace=self.namespace)

        start = f"{row.phase}: "
        await eventually(
            told, lambda found: any(one["message"].startswith(start) for one in found), 60
        )


async def check_failure(door: FrontDoor, run_id: str, key: str, namespace: str = RUNS) -> Json:
    """Hold a run to the row of ``key``, as ``Place.check`` does."""
    return await Place(door, namespace).check(run_id, key)


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
