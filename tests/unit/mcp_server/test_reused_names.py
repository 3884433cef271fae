"""Runs of one name, made one after the other: each stays readable, and no cursor is another's."""

import json
from typing import Any

import pytest
from mcp_types import TextResourceContents

from agentrun.api.events import EventType, NewEvent
from agentrun.kube.resources import RUNS
from tests.unit.mcp_server.cluster import run
from tests.unit.mcp_server.conftest import Bench


async def make_again(bench: Bench, *said: str) -> str:
    """Make a run named nightly, in place of the one before; return its uid."""
    if ("agentruns", "team-a", "nightly") in bench.cluster.objects:
        bench.cluster.remove(RUNS, "team-a", "nightly")
    made = bench.cluster.add(RUNS, "team-a", run("nightly"))
    uid: str = made["metadata"]["uid"]
    await bench.run_sync.observe(made)
    events = [
        NewEvent(
            seq=seq,
            event_id=f"{uid}-{seq}",
            ts="2026-11-23T12:00:01.000Z",
            type=EventType.AGENT_MESSAGE,
            data={"text": text},
        )
        for seq, text in enumerate(said, start=1)
    ]
    await bench.store.append(uid, 1, events)
    return uid


async def poll(bench: Bench, run_id: str, after_seq: int = 0) -> dict[str, Any]:
    return await bench.call("poll_events", run_id=run_id, after_seq=after_seq, wait_ms=0)


def texts(page: dict[str, Any]) -> list[str]:
    return [event["data"]["text"] for event in page["events"]]


async def test_each_run_is_read_by_its_name_and_uid(bench: Bench) -> None:
    first = await make_again(bench, "a", "b")
    second = await make_again(bench, "x", "y", "z")
    for uid, said in ((first, ["a", "b"]), (second, ["x", "y", "z"])):
        run_id = f"nightly@{uid}"
        page = await poll(bench, run_id)
        assert (page["run_id"], page["uid"], texts(page)) == (run_id, uid, said)
        assert texts(await poll(bench, run_id, 1)) == said[1:]
        shown = await bench.call("get_run", run_id=run_id)
        assert (shown["run_id"], shown["uid"], shown["last_seq"]) == (run_id, uid, len(said))


async def test_the_name_alone_is_the_newest_runs(bench: Bench) -> None:
    await make_again(bench, "a")
    second = await make_again(bench, "x")
    page = await poll(bench, "nightly")
    assert (page["run_id"], texts(page)) == (f"nightly@{second}", ["x"])
    assert (await bench.call("get_run", run_id="nightly"))["uid"] == second


async def test_a_list_gives_each_run_a_run_id_of_its_own(bench: Bench) -> None:
    uids = [await make_again(bench, "a"), await make_again(bench, "x")]
    other = (await bench.spawn())["run_id"]
    listed = [one["run_id"] for one in (await bench.call("list_runs"))["runs"]]
    assert sorted(listed) == sorted([other, *(f"nightly@{uid}" for uid in uids)])


async def test_a_cursor_of_an_earlier_run_is_refused_with_the_next_step(bench: Bench) -> None:
    first = await make_again(bench, "a", "b", "c")
    assert (await poll(bench, "nightly", 2))["run_id"] == "nightly"
    second = await make_again(bench, "x", "y", "z", "the answer")
    told = await bench.refused("poll_events", run_id="nightly", after_seq=3)
    assert "seq 3 may be of another run's journal" in told
    assert f"nightly@{second} is the newest" in told
    assert texts(await poll(bench, f"nightly@{first}", 2)) == ["c"]
    assert texts(await poll(bench, f"nightly@{second}", 3)) == ["the answer"]


async def test_a_seq_of_an_artifact_is_not_of_another_run(bench: Bench) -> None:
    await make_again(bench, "a")
    await make_again(bench, "x")
    asked = {"run_id": "nightly", "seq": 1, "field_path": "/text"}
    assert "may be of another run's journal" in await bench.refused("get_event_artifact", **asked)


async def test_a_journal_resource_is_one_runs(bench: Bench) -> None:
    first = await make_again(bench, "a", "b")
    await make_again(bench, "x")
    uri = f"agentrun://team-a/runs/nightly@{first}/journal?after_seq=1"
    (content,) = (await bench.client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    found = json.loads(content.text)
    assert (found["run_id"], found["uid"], texts(found)) == (f"nightly@{first}", first, ["b"])


async def test_a_cursor_beyond_the_end_of_a_run_is_refused(bench: Bench) -> None:
    uid = await make_again(bench, "a")
    await bench.store.seal(uid, "end", "2026-11-23T12:00:02.000Z", {"status": "completed"})
    told = await bench.refused("poll_events", run_id="nightly", after_seq=9)
    assert f"after_seq 9 is not of run nightly@{uid}, which has ended with seq 2" in told
    page = await bench.call("poll_events", run_id="nightly", after_seq=2, wait_ms=0)
    assert page["events"] == []


@pytest.mark.parametrize("run_id", ["nightly@no-such-uid", "@{uid}", "other@{uid}"])
async def test_a_uid_of_another_run_finds_nothing(bench: Bench, run_id: str) -> None:
    uid = await make_again(bench, "a")
    asked = run_id.format(uid=uid)
    assert f"Unknown run_id: {asked}" in await bench.refused("get_run", run_id=asked)
    assert "Unknown run_id" in await bench.refused(
        "get_run", run_id=f"nightly@{uid}", namespace="team-b"
    )


async def test_the_children_of_one_of_them_are_listed_by_its_uid(bench: Bench) -> None:
    first, second = await make_again(bench, "a"), await make_again(bench, "x")
    parent = {"name": "nightly", "uid": first, "depth": 1}
    await bench.run_sync.observe(bench.cluster.add(RUNS, "team-a", run("child", parent=parent)))
    listed = {
        uid: [
            one["run_id"]
            for one in (await bench.call("list_runs", parent_run_id=f"nightly@{uid}"))["runs"]
        ]
        for uid in (first, second)
    }
    assert listed == {first: ["child"], second: []}
