"""Which runs changed last and which stand for their sessions, and what it costs to ask."""

import random
import re
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection, Select, insert, text

from agentrun.api.v1alpha1 import Phase
from agentrun.store import session_queries
from agentrun.store.base import RunRow, RunStore, SessionRun
from agentrun.store.moments import micros
from agentrun.store.rows import run_columns
from agentrun.store.sql import SqlRunStore
from agentrun.store.tables import runs
from tests.contract.builders import BEGIN, TS, a_row, events

TALK: Any = {"session": {"name": "talk"}}
PHASES = (None, Phase.QUEUED, Phase.RUNNING, Phase.CANCELLING, Phase.COMPLETED, Phase.FAILED)
FULL = ("SCAN runs", "SCAN others", "TEMP B-TREE", "Seq Scan", "Sort", "Bitmap", "Hash", "JIT")
"""What a plan says where it reads more than it returns."""
PAGES = re.compile(r"shared hit=(\d+)")


async def standing(
    store: RunStore, name: str = "talk", uid: str = "s-1", namespace: str = "team"
) -> str | None:
    found = await store.standing_runs(namespace, [(name, uid)])
    if (name, uid) not in found:
        assert found == {}
        return None
    one = found[name, uid]
    (row,) = await store.get_runs([one.uid])
    check(one, row)
    return row.run.metadata.name


def check(one: SessionRun, row: RunRow) -> None:
    run = row.run
    assert (one.session_name, one.session_uid) == (run.session_name, row.session_uid)
    assert (one.phase, one.has_ended) == (run.phase.value, run.is_finished)
    assert one.cwd == (run.spec.workspace.cwd if run.spec.workspace else None)
    assert one.updated_at == row.updated_at
    assert row.updated_at is not None
    assert one.place == (micros(row.updated_at), run.session_name, run.metadata.uid)


async def changed(store: RunStore, limit: int = 10, **more: Any) -> list[str]:
    found = await store.changed_runs("team", limit, **more)
    rows = {row.run.metadata.uid: row for row in await store.get_runs([one.uid for one in found])}
    for one in found:
        check(one, rows[one.uid])
    return [one.uid for one in found]


async def test_a_session_is_represented_by_the_run_that_changed_last(store: RunStore) -> None:
    await store.record_run(a_row("uid-1", "one", minute=1, phase=Phase.RUNNING, **TALK))
    await store.record_run(a_row("uid-2", "two", minute=2, phase=Phase.RUNNING, **TALK))
    assert await standing(store) == "two"
    await store.append("uid-1", 1, events(1, 1))
    assert await standing(store) == "one"


async def test_an_active_run_takes_precedence_over_an_ended_one(store: RunStore) -> None:
    await store.record_run(a_row("uid-1", "one", phase=Phase.QUEUED, **TALK))
    await store.record_run(a_row("uid-2", "two", phase=Phase.COMPLETED, **TALK))
    assert await standing(store) == "one"
    await store.record_run(a_row("uid-1", "one", phase=Phase.FAILED, version=2, **TALK))
    assert await standing(store) == "one"
    await store.record_run(a_row("uid-3", "three", **TALK))
    assert await standing(store) == "three", "one without a phase has not ended"


async def test_an_active_run_takes_precedence_over_those_that_wait_behind_it(
    store: RunStore,
) -> None:
    await store.record_run(a_row("uid-1", "one", minute=1, phase=Phase.INPUT_REQUIRED, **TALK))
    await store.record_run(a_row("uid-2", "two", minute=2, phase=Phase.QUEUED, **TALK))
    await store.record_run(a_row("uid-3", "three", minute=3, phase=Phase.QUEUED, **TALK))
    assert await standing(store) == "one"
    await store.record_run(a_row("uid-1", "one", phase=Phase.COMPLETED, version=2, **TALK))
    assert await standing(store) == "three"
    await store.record_run(a_row("uid-2", "two", phase=Phase.STARTING, version=2, **TALK))
    assert await standing(store) == "two"


async def test_runs_are_read_without_their_documents(store: RunStore) -> None:
    for number in range(3):
        await store.record_run(a_row(f"uid-{number}", f"run-{number}"))
    found = await store.session_runs(["uid-2", "uid-0", *(f"none-{n}" for n in range(200))])
    assert sorted(one.uid for one in found) == ["uid-0", "uid-2"]
    rows = {row.run.metadata.uid: row for row in await store.get_runs(["uid-0", "uid-2"])}
    for one in found:
        check(one, rows[one.uid])
    assert await store.session_runs([]) == []


async def test_sessions_are_distinguished_by_namespace_and_uid(store: RunStore) -> None:
    await store.record_run(a_row("uid-1", "one", **TALK))
    await store.record_run(a_row("uid-2", "two", "s-2", **TALK))
    await store.record_run(a_row("uid-3", "three"))
    await store.record_run(a_row("uid-4", "four", namespace="other"))
    asked = [("talk", "s-1"), ("talk", "s-2"), ("three", "s-1"), ("four", "s-1"), ("talk", "s-3")]
    found = await store.standing_runs("team", asked)
    assert {key: one.uid for key, one in found.items()} == {
        ("talk", "s-1"): "uid-1", ("talk", "s-2"): "uid-2", ("three", "s-1"): "uid-3",
    }  # fmt: skip
    assert await standing(store, "four", namespace="other") == "four"
    assert await standing(store, "four", namespace="nobody") is None
    assert await store.standing_runs("team", []) == {}


async def test_a_run_without_a_session_uid_belongs_to_any_session_of_that_name(
    store: RunStore,
) -> None:
    await store.record_run(a_row("uid-1", "one", "", **TALK))
    assert await standing(store, uid="s-1") == await standing(store, uid="s-2") == "one"
    await store.record_run(a_row("uid-2", "two", "s-2", phase=Phase.RUNNING, **TALK))
    assert (await standing(store, uid="s-1"), await standing(store, uid="s-2")) == ("one", "two")
    await store.record_run(a_row("uid-1", "one", "s-1", version=2, **TALK))
    assert (await standing(store, uid="s-1"), await standing(store, uid="s-2")) == ("one", "two")
    assert await standing(store, uid="s-3") is None


async def test_more_sessions_are_queried_than_one_statement_accepts(store: RunStore) -> None:
    for number in range(3):
        await store.record_run(a_row(f"uid-{number}", f"run-{number * 120}"))
    asked = [(f"run-{number}", "s-1") for number in range(260)]
    found = await store.standing_runs("team", asked)
    assert [one.uid for one in found.values()] == ["uid-0", "uid-1", "uid-2"]


async def test_runs_are_listed_by_time_of_change(store: RunStore) -> None:
    for number in range(5):
        await store.record_run(a_row(f"uid-{number}", minute=-number))
    await store.record_run(a_row("far", namespace="other"))
    assert await changed(store) == [f"uid-{number}" for number in (4, 3, 2, 1, 0)]
    await store.append("uid-1", 1, events(1, 1))
    await store.seal("uid-0", "seal", TS, {"status": "failed"})
    await store.record_run(a_row("uid-4", minute=-4))  # As it is already.
    assert await changed(store, 3) == ["uid-0", "uid-1", "uid-4"]
    third = (await store.changed_runs("team", 3))[-1]
    assert await changed(store, before=third.place) == ["uid-3", "uid-2"]
    assert await store.changed_runs("nobody", 10) == []
    await store.forget("uid-3")
    assert await changed(store) == ["uid-0", "uid-1", "uid-4", "uid-2"]


async def test_cursors_distinguish_runs_that_changed_at_the_same_time(store: RunStore) -> None:
    setattr(store, "_now", lambda: BEGIN)  # noqa: B010 - no part of the promise
    for uid, talk in (("b", "x"), ("a", "x"), ("c", "w")):
        await store.record_run(a_row(uid, session={"name": talk}))
    assert await changed(store) == ["b", "a", "c"]
    for index, uid in enumerate(("b", "a", "c")):
        name = "w" if uid == "c" else "x"
        rest = await changed(store, before=(micros(BEGIN), name, uid))
        assert rest == ["b", "a", "c"][index + 1 :]
    assert await standing(store, "x") == "run-b"


@pytest.mark.parametrize("seed", range(3))
async def test_both_queries_agree_with_a_scan_of_all_runs(store: RunStore, seed: int) -> None:
    chance = random.Random(seed)
    moment = BEGIN

    def now() -> Any:
        nonlocal moment
        moment += timedelta(microseconds=chance.choice((0, 1, 1, 10**6)))
        return moment

    setattr(store, "_now", now)  # noqa: B010
    uids = [f"uid-{number}" for number in range(14)]
    sessions = [(name, uid) for name in "abc" for uid in ("s-1", "s-2", "s-3")]
    known = dict[str, RunRow]()
    for step in range(120):
        uid = chance.choice(uids)
        row = known.get(uid)
        if row is not None and chance.random() < 0.1:
            await store.forget(uid)
            del known[uid]
        elif row is not None and chance.random() < 0.5:
            await store.append(uid, 1, events(row.last_seq + 1, row.last_seq + 1))
        else:
            name = row.run.session_name if row else chance.choice("abc")
            of = (row and row.session_uid) or chance.choice(("", "", "s-1", "s-2"))
            session: dict[str, Any] = {"session": {"name": name}}
            new = a_row(uid, "", of, phase=chance.choice(PHASES), version=step + 1, **session)
            await store.record_run(new)
        if uid in known or row is None:
            (known[uid],) = await store.get_runs([uid])
        if step % 10 == 0:
            await compare(store, list(known.values()), sessions)


async def compare(store: RunStore, rows: list[RunRow], sessions: Sequence[tuple[str, str]]) -> None:
    def place(row: RunRow) -> tuple[int, str, str]:
        assert row.updated_at is not None
        return micros(row.updated_at), row.run.session_name, row.run.metadata.uid

    def rank(row: RunRow) -> Any:
        is_live = not row.run.is_finished
        is_active = is_live and row.run.phase is not Phase.QUEUED
        return (is_active, is_live, row.updated_at, row.run.created, place(row)[2])

    expected = sorted(rows, key=place, reverse=True)
    found = await store.changed_runs("team", 100)
    assert [one.uid for one in found] == [row.run.metadata.uid for row in expected]
    for one, other in pairwise(found):
        assert [other] == await store.changed_runs("team", 1, one.place)
    stand = await store.standing_runs("team", sessions)
    for name, uid in sessions:
        mine = [r for r in rows if r.run.session_name == name and r.session_uid in ("", uid)]
        best = max(mine, key=rank, default=None)
        assert (best and best.run.metadata.uid) == (
            stand[name, uid].uid if (name, uid) in stand else None
        )


only_sql = pytest.mark.parametrize("store_url", ["sqlite", "postgresql"], indirect=True)


@only_sql
async def test_an_unknown_phase_of_a_newer_version_counts_as_active(store: SqlRunStore) -> None:
    await store.record_run(a_row("uid-1", "one", phase=Phase.RUNNING, **TALK))
    await store.record_run(a_row("uid-2", "two", phase=Phase.COMPLETED, **TALK))
    async with store._database.writer.begin() as connection:
        await connection.execute(text("UPDATE runs SET phase = 'Paused' WHERE uid = 'uid-1'"))
    found = await store.standing_runs("team", [("talk", "s-1")])
    assert [(one.uid, one.phase) for one in found.values()] == [("uid-1", "Paused")]


@only_sql
async def test_queries_use_indexes_only_whatever_the_number_of_runs(store: SqlRunStore) -> None:
    """Also while PostgreSQL has no statistics, or has some that one large session belies."""
    await fill(store, 3000)
    asked = [("talk", "s-1"), ("one", "s-1"), ("none", "s-9")]
    queries = (
        session_queries.changed("team", 20, None),
        session_queries.changed("team", 20, (micros(BEGIN) + 1500, "talk", "uid-1")),
        session_queries.foremost("team", asked),
    )
    for statistics in (False, True):
        if statistics:
            async with store._database.writer.begin() as connection:
                await connection.execute(text("ANALYZE"))
        async with store._database.index_reader.begin() as connection:
            plans = [await connection.run_sync(plan_of, query) for query in queries]
        for plan, index in zip(plans, ("change", "change", "standing"), strict=True):
            assert f"runs_by_{index}" in plan, plan
            assert [word for word in FULL if word in plan] == [], plan
        pages = [int(found) for plan in plans for found in PAGES.findall(plan)[:1]]
        assert max(pages, default=0) < 60, pages
    assert [one.uid for one in await store.changed_runs("team", 1)] == ["uid-2999"]
    assert (await store.standing_runs("team", asked))["talk", "s-1"].uid == "uid-2999"


async def fill(store: SqlRunStore, count: int, namespace: str = "team", of: str = "uid") -> None:
    rows = []
    for number in range(count):
        phase = Phase.RUNNING if number % 2 else Phase.COMPLETED
        talk: dict[str, Any] = {"session": {"name": "one" if number % 100 == 0 else "talk"}}
        uid = f"{of}-{number}"
        columns = run_columns(a_row(uid, namespace=namespace, phase=phase, **talk))
        columns["created"] += number
        first = store._first(uid)
        rows.append({**first, **columns, "updated": micros(BEGIN) + number})
    async with store._database.writer.begin() as connection:
        await connection.execute(insert(runs), rows)


def plan_of(connection: Connection, query: Select[Any]) -> str:
    # That of PostgreSQL leaves out a part of a recursive query, but counts the pages of all of it.
    is_sqlite = connection.dialect.name == "sqlite"
    explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN (ANALYZE, BUFFERS) "
    said = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + str(said)))
