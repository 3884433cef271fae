"""Pages of runs that are sought among many, and what it costs to look for them."""

from itertools import chain
from typing import Any

import pytest
from sqlalchemy import text

from agentrun.api.v1alpha1 import Phase
from agentrun.store import pages
from agentrun.store.base import RunFilter, RunStore
from agentrun.store.sql import SqlRunStore
from tests.contract.builders import BEGIN, a_row
from tests.contract.test_session_queries import FULL, PAGES, fill, only_sql, plan_of

TALK: Any = {"session": {"name": "talk"}}
TEAM = RunFilter(namespaces=["team"])
OF_TALK = RunFilter(namespaces=["team"], session_name="talk")


def bound(store: RunStore, most: int) -> None:
    setattr(store, "_most_looked_at", most)  # noqa: B010 - no part of the promise


async def all_pages(store: RunStore, which: RunFilter, limit: int) -> list[list[str]]:
    found, cursor = list[list[str]](), None
    while not found or cursor:
        page = await store.list_runs(which, limit, cursor)
        found.append([row.run.metadata.uid for row in page.rows])
        cursor = page.cursor
    return found


@pytest.mark.parametrize("limit", [1, 2, 30])
@pytest.mark.parametrize("most", [1, 3, 20_000])
async def test_following_the_cursors_lists_every_run_once_in_order(
    store: RunStore, most: int, limit: int
) -> None:
    for n in range(9):
        more: dict[str, Any] = {"phase": Phase.RUNNING if n == 1 else Phase.COMPLETED}
        more |= {"backend": "claude_code"} if n in (0, 6) else {}
        more |= {"workspace": {"cwd": "src"}} if n in (2, 8) else {}
        more |= TALK if n in (1, 4, 5) else {}
        await store.record_run(a_row(f"u{n}", minute=n // 2, **more))
    await store.record_run(a_row("far", namespace="other", minute=3, **TALK))
    bound(store, most)
    for which, expected in (
        (RunFilter(), ["u8", "u7", "u6", "far", "u5", "u4", "u3", "u2", "u1", "u0"]),
        (TEAM, [f"u{n}" for n in reversed(range(9))]),
        (RunFilter(namespaces=["other", "none"]), ["far"]),
        (RunFilter(namespaces=["team"], phases=[Phase.RUNNING]), ["u1"]),
        (RunFilter(namespaces=["team"], phases=[]), []),
        (RunFilter(namespaces=["team"], backend="claude_code"), ["u6", "u0"]),
        (OF_TALK, ["u5", "u4", "u1"]),
        (RunFilter(session_name="talk"), ["far", "u5", "u4", "u1"]),
        (RunFilter(["team"], [Phase.RUNNING], None, "talk"), ["u1"]),
    ):
        found = await all_pages(store, which, limit)
        # The names are those of the uids, and decide where the second is the same.
        assert list(chain(*found)) == expected, which
        assert max(map(len, found)) <= limit


async def test_a_page_scans_no_more_runs_than_the_limit(store: RunStore) -> None:
    for n in range(7):
        phase = Phase.RUNNING if n == 0 else Phase.COMPLETED
        await store.record_run(a_row(f"u{n}", minute=n, phase=phase, **(TALK if n < 2 else {})))
    bound(store, 3)
    running = RunFilter(namespaces=["team"], phases=[Phase.RUNNING])
    first = await store.list_runs(running, 2)
    assert (first.rows, first.looked_at) == ([], 3)
    assert [len(page) for page in await all_pages(store, running, 2)] == [0, 0, 1]
    # Within the session, the run is found at once.
    of_talk = RunFilter(namespaces=["team"], phases=[Phase.RUNNING], session_name="talk")
    assert await all_pages(store, of_talk, 2) == [["u0"]]
    assert (await store.list_runs(TEAM, 1)).looked_at <= 2


@only_sql
async def test_a_page_is_found_by_indexes_only_whatever_the_number_of_runs(
    store: SqlRunStore,
) -> None:
    """Also while PostgreSQL has no statistics, or has some that one large session belies."""
    await fill(store, 3000)
    # Were all of one namespace, the index of all runs would lead there as well.
    await fill(store, 6000, "other", "far")
    place = (int(BEGIN.timestamp()) + 1500, "run-x", "x")
    gone = RunFilter(["team"], [Phase.RUNNING], "gemini")
    of_talk = RunFilter(["team"], [Phase.RUNNING], "gemini", "talk")
    asked = (
        (pages.walk(TEAM, 20, None, 2000), "place", 60),
        (pages.walk(gone, 20, None, 200), "place", 260),
        (pages.walk(gone, 20, place, 200), "place", 260),
        (pages.walk(OF_TALK, 20, place, 2000), "session", 60),
        (pages.walk(of_talk, 20, place, 200), "session", 260),
        (pages.walk(RunFilter(["none"], None, None, "one"), 20, None, 200), "session", 60),
        (pages.walk(RunFilter(), 20, None, 2000), "age", 60),
    )
    for statistics in (False, True):
        if statistics:
            async with store._database.writer.begin() as connection:
                await connection.execute(text("ANALYZE"))
        async with store._database.index_reader.begin() as connection:
            plans = [await connection.run_sync(plan_of, query) for query, _, _ in asked]
        for plan, (_, index, most) in zip(plans, asked, strict=True):
            assert f"runs_by_{index}" in plan, plan
            full = [word for word in FULL if word in plan and word != "SCAN runs"]
            assert full == [], plan
            if index != "age":
                assert "SCAN runs" not in plan, plan
                assert "COVERING INDEX" in plan or "Index Only Scan" in plan, plan
            read = [int(found) for found in PAGES.findall(plan)[:1]]
            assert max(read, default=0) < most, plan
    (newest,) = (await store.list_runs(OF_TALK, 1)).rows
    assert newest.run.metadata.uid == "uid-2999"
