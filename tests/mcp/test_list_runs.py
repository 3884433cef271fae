"""Listing runs by what they belong to."""

from mcp_server.kube import RUNS
from tests.mcp.cluster import run
from tests.mcp.conftest import Bench, eventually


async def listed(bench: Bench, **which: object) -> list[str]:
    found = await bench.call("list_runs", **which)
    return sorted(shown["run_id"] for shown in found["runs"])


async def test_the_runs_of_an_agent_are_listed_by_its_name_or_its_session(bench: Bench) -> None:
    mine = await bench.spawn(nickname="Ada Lovelace")
    await bench.spawn()
    for reference in ("Ada Lovelace", "ada-lovelace", mine["session_id"]):
        assert await listed(bench, agent_name=reference) == [mine["run_id"]]


async def test_an_agent_that_nobody_knows_is_named(bench: Bench) -> None:
    error = await bench.refused("list_runs", agent_name="nobody")
    assert error.startswith("Unknown agent_name: nobody.")


async def test_the_runs_that_an_agent_asked_for_are_listed_by_the_run_it_works_in(
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
