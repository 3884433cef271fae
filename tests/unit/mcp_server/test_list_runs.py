"""Listing runs by what they belong to."""

from itertools import chain
from typing import Any

import pytest

from agentrun.kube.resources import RUNS
from tests.unit.mcp_server.cluster import run
from tests.unit.mcp_server.conftest import Bench, eventually


async def listed(bench: Bench, **which: object) -> list[str]:
    found = await bench.call("list_runs", **which)
    return sorted(shown["run_id"] for shown in found["runs"])


async def test_the_runs_of_an_agent_are_listed_by_its_name_or_its_session(bench: Bench) -> None:
    mine = await bench.spawn(nickname="Ada Lovelace")
    await bench.spawn()
    for reference in ("Ada Lovelace", "ada-lovelace", mine["session_id"]):
        assert await listed(bench, agent_name=reference) == [mine["run_id"]]


async def test_an_unknown_agent_is_named(bench: Bench) -> None:
    error = await bench.refused("list_runs", agent_name="nobody")
    assert error.startswith("Unknown agent_name: nobody.")


async def test_the_runs_that_an_agent_started_are_listed_by_its_parent_run(
    bench: Bench,
) -> None:
    parent = await bench.spawn()
    above = {"name": parent["run_id"], "uid": "u", "depth": 1}
    bench.cluster.add(RUNS, "team-a", run("child", parent=above))

    async def is_seen() -> bool:
        return await bench.store.get_run("team-a", "child") is not None

    await eventually(is_seen)
    assert await listed(bench, parent_run_id=parent["run_id"]) == ["child"]
    (shown,) = (await bench.call("list_runs", parent_run_id=parent["run_id"]))["runs"]
    assert shown["parent_run_id"] == parent["run_id"]


async def pages(bench: Bench, **arguments: Any) -> list[list[str]]:
    """Read all pages, and return the runs on each."""
    found, cursor = list[list[str]](), None
    while not found or cursor:
        page = await bench.call("list_runs", **arguments, cursor=cursor)
        found.append([one["run_id"] for one in page["runs"]])
        cursor = page["next_cursor"]
    return found


async def test_a_page_of_large_runs_fits_into_a_response(bench: Bench) -> None:
    made = [
        (await bench.spawn(metadata={"x": "x" * 300_000}, idempotency_key=str(n)))["run_id"]
        for n in range(7)
    ]
    found = await pages(bench)
    assert [len(page) for page in found] == [1] * 7
    assert sorted(chain(*found)) == sorted(made)


async def test_pages_are_complete_whatever_the_batch_size(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_server.tools.runs._ROWS_AT_ONCE", 4)
    cwds = ["docs" if number % 3 == 0 else "src" for number in range(11)]
    made = [((await bench.spawn(cwd=cwd))["run_id"], cwd) for cwd in cwds]
    everything = sorted(run_id for run_id, _ in made)
    for limit in (1, 3, 4, 10, 11, 100):
        found = await pages(bench, limit=limit)
        assert sorted(chain(*found)) == everything
        assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
        chosen = await pages(bench, limit=limit, cwd="docs")
        assert sorted(chain(*chosen)) == sorted(one for one, cwd in made if cwd == "docs")
        assert max(map(len, chosen)) <= limit


async def test_a_call_skips_a_bounded_number_of_filtered_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    setattr(bench.store, "_most_looked_at", 3)  # noqa: B010 - no part of the promise
    monkeypatch.setattr("mcp_server.tools.runs.MOST_LOOKED_AT", 5)
    made = [(await bench.spawn(nickname=f"agent-{number}"))["run_id"] for number in range(15)]
    ended = bench.cluster.set_status("team-a", made[0], phase="Completed")
    await bench.run_sync.observe(ended)
    # Which of the pages it is on is by chance: all began in the same second.
    assert sorted(await pages(bench, status="completed")) == [[], [], [made[0]]]
    assert await pages(bench, status="completed", agent_name="agent-0") == [[made[0]]]
    assert sorted(chain(*await pages(bench, status="queued"))) == sorted(made[1:])
