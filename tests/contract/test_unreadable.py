"""What cannot be read keeps nothing else from being read, on every store; and what is forgotten."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from sqlalchemy import text

from agentrun.api.quarantine import UNREADABLE, readable
from agentrun.api.v1alpha1 import AgentRun, Phase
from agentrun.store.base import NotStorableError, RunFilter, RunRow, RunStore, UnknownRunError
from agentrun.store.blobs import open_blobs
from agentrun.store.forget import ForgetError, Request, forget
from agentrun.store.sql import SqlRunStore, open_store
from tests.contract.builders import BEGIN, TS, a_message, a_row, an_event, events
from tests.objects import QUIETLY, nested, objects

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/agentrun.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
async def database(url: str) -> AsyncIterator[SqlRunStore]:
    store = await open_store(url)
    yield store
    await store.close()


async def change(store: SqlRunStore, statement: str, **values: Any) -> None:
    async with store._database.writer.begin() as connection:
        await connection.execute(text(statement), values)


@pytest.mark.parametrize("phase", [None, Phase.RUNNING, Phase.COMPLETED])
@pytest.mark.parametrize(
    "document",
    [
        pytest.param('{"spec":' + '{"a":' * 1500 + "1" + "}" * 1501, id="bottomless"),
        pytest.param('{"spec":{}}', id="no-run"),
        pytest.param("{", id="no-json"),
    ],
)
async def test_an_unreadable_row_is_listed_by_name_until_it_is_recorded_again(
    database: SqlRunStore, document: str, phase: Phase | None
) -> None:
    await database.record_run(a_row("good"))
    await database.record_run(a_row("bad", phase=phase, workspace={"cwd": "src"}))
    statement = "UPDATE runs SET document = :document WHERE uid = 'bad'"
    await change(database, statement, document=document)
    found: list[RunRow | None] = [await database.get_run_by_uid("bad")]
    found.append(await database.get_run("team", "run-bad"))
    found += (await database.list_runs(RunFilter(), 10)).rows
    found += await database.open_runs()
    changed = await database.changed_runs("team", 10)
    found += await database.get_runs([one.uid for one in changed])
    bad = [row for row in found if row is not None and row.run.metadata.uid == "bad"]
    assert len(bad) >= 4
    for row in bad:
        assert (row.run.metadata.name, row.run.phase) == ("run-bad", phase or Phase.QUEUED)
        assert "cannot be read" in row.run.metadata.annotations[UNREADABLE]
    await database.append("bad", 1, events(1, 2))
    mended = a_row("bad", phase=phase, version=7)
    await database.record_run(mended)
    again = await database.get_run_by_uid("bad")
    assert again is not None
    assert again.run == mended.run


async def test_a_deeply_nested_row_of_an_earlier_version_is_read_without_the_excess(
    database: SqlRunStore,
) -> None:
    await database.record_run(a_row("old"))
    run = a_row("old").run.to_json()
    run["spec"]["metadata"] = nested(205)
    statement = "UPDATE runs SET document = :document"
    await change(database, statement, document=json.dumps(run))
    (row,) = await database.open_runs()
    assert row.run.spec.prompt == "Fix it."
    assert "deeper than 96 levels" in row.run.metadata.annotations[UNREADABLE]


async def test_an_unreadable_event_or_message_is_replaced_by_a_placeholder(
    database: SqlRunStore,
) -> None:
    await database.record_run(a_row())
    await database.append("uid-1", 1, events(1, 3))
    for number in range(1, 4):
        await database.messages.send(a_message(f"m-{number}"))
    deep = '{"a":' * 2000 + "1" + "}" * 2000
    await change(database, "UPDATE events SET data = :deep WHERE seq = 2", deep=deep)
    await change(database, "UPDATE messages SET body = :deep WHERE seq = 2", deep=deep)
    journal = await database.read("uid-1", 0, 10)
    assert [(event.seq, event.type) for event in journal] == [
        (1, "agent_message"), (2, "unreadable"), (3, "agent_message"),
    ]  # fmt: skip
    assert "cannot be read" in journal[1].data["reason"]
    mail = await database.messages.fetch("s-1", 0, 10)
    assert [one.seq for one in mail] == [1, 2, 3]
    assert "cannot be read" in (mail[1].sent.body.parts[0].text or "")


@pytest.mark.parametrize("depth", [97, 205, 260, 900])
async def test_a_too_deeply_nested_run_is_recorded_without_the_excess(
    store: RunStore, depth: int
) -> None:
    await store.record_run(a_row("bad", metadata=nested(depth)))
    await store.record_run(a_row("good"))
    rows = {row.run.metadata.uid: row.run for row in await store.open_runs()}
    assert set(rows) == {"bad", "good"}
    assert UNREADABLE in rows["bad"].metadata.annotations
    rows["bad"].to_json()
    assert UNREADABLE not in rows["good"].metadata.annotations


async def test_a_nul_is_kept_in_stored_documents(
    store: RunStore,
) -> None:
    await store.record_run(a_row("nul", prompt="a\0b", workspace={"cwd": "a\0b"}))
    row = await store.get_run_by_uid("nul")
    assert row is not None
    assert row.run.spec.prompt == "a\0b"


async def test_data_that_cannot_be_read_back_is_refused_by_the_journal_and_by_mailboxes(
    store: RunStore,
) -> None:
    await store.record_run(a_row())
    with pytest.raises(NotStorableError, match="deeper than 96"):
        await store.append("uid-1", 1, [an_event(1, a=nested(100))])
    with pytest.raises(NotStorableError, match="deeper than 96"):
        await store.messages.send(a_message(metadata=nested(100)))
    assert await store.read("uid-1", 0, 10) == []


async def test_data_that_no_database_accepts_is_an_error_of_the_caller_and_not_an_outage(
    database: SqlRunStore,
) -> None:
    is_sqlite = "sqlite" in database._database.reader.dialect.name
    for name in ("\ud800",) if is_sqlite else ("a\0b", "\ud800"):
        with pytest.raises(NotStorableError, match="does not accept this value"):
            await database.get_run("team", name)


@pytest.mark.slow
async def test_whatever_the_schema_allows_is_recorded_and_read_back(database: SqlRunStore) -> None:
    loop = asyncio.get_running_loop()
    meta = {"namespace": "team", "name": "odd", "resourceVersion": "1"}

    async def keep(made: dict[str, Any], uid: str) -> None:
        try:
            whole = readable({"metadata": {**meta, "uid": uid}, **made})
            run = AgentRun.model_validate(whole)
        except ValueError:
            return
        await database.record_run(replace(a_row(), run=run))
        found = await database.get_run_by_uid(uid)
        assert found is not None
        assert found.run.to_json() == run.to_json()

    numbers = iter(range(10_000))

    @QUIETLY
    @given(objects("agentruns"))
    def record(made: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(keep(made, f"u-{next(numbers)}"), loop).result(60)

    await asyncio.to_thread(record)


# Forgetting


@dataclass
class Kept:
    """A store with a run of which everything is kept."""

    url: str
    blobs_url: str
    store: SqlRunStore

    async def forget(self, run: str, namespace: str | None = None, *, deleted: bool = False) -> Any:
        blobs = open_blobs(self.blobs_url)
        return await forget(self.url, blobs, Request(run, namespace, deleted))


@pytest.fixture
async def kept(url: str, database: SqlRunStore, tmp_path: Path) -> Kept:
    made = Kept(url, f"file://{tmp_path}/blobs", database)
    blobs = open_blobs(made.blobs_url)
    for uid, gone in (("one", BEGIN), ("two", None)):
        row = a_row(uid, session_uid=f"s-{uid}", phase=Phase.COMPLETED)
        await database.record_run(replace(row, deleted_at=gone))
        await database.append(uid, 1, [an_event(1, text="a leaked s3cret")])
        await database.seal(uid, f"seal-{uid}", TS, {"status": "completed"})
        await blobs.put(f"runs/{uid}/artifacts/a", b"s3cret", "text/plain")
        await database.messages.send(a_message(f"to-{uid}", "s3cret", to=f"s-{uid}"))
    sent = replace(a_message("from", "s3cret", to="s-two"), from_session_uid="s-one")
    await database.messages.send(sent)
    return made


async def test_forgetting_a_run_deletes_all_of_its_data_and_no_other_runs(
    kept: Kept,
) -> None:
    _, removed = await kept.forget("run-one")
    assert (removed.events, removed.messages, removed.sent) == (2, 1, 1)
    assert await kept.store.get_run_by_uid("one") is None
    assert await kept.store.read("one", 0, 10) == []
    assert await kept.store.messages.fetch("s-one", 0, 10) == []
    mail = await kept.store.messages.fetch("s-two", 0, 10)
    assert [one.sent.body.parts[0].text for one in mail] == [
        "s3cret",
        "[This message was removed.]",
    ]
    assert await open_blobs(kept.blobs_url).keys() == ["runs/two/artifacts/a"]
    assert len(await kept.store.read("two", 0, 10)) == 2
    with pytest.raises(ForgetError, match="Run run-one was not found"):
        await kept.forget("run-one")
    with pytest.raises(UnknownRunError):
        await kept.store.forget("one")


async def test_a_run_whose_object_may_exist_is_forgotten_only_if_requested(kept: Kept) -> None:
    with pytest.raises(ForgetError, match="kubectl delete agentrun run-two -n team"):
        await kept.forget("two")
    await kept.forget("two", deleted=True)
    assert await kept.store.get_run_by_uid("two") is None


async def test_an_ambiguous_run_name_is_refused(kept: Kept) -> None:
    for uid, namespace in (("a", "team"), ("b", "other"), ("c", "other")):
        row = a_row(uid, "same", namespace=namespace, phase=Phase.FAILED)
        await kept.store.record_run(replace(row, deleted_at=BEGIN))
        await kept.store.seal(uid, f"seal-{uid}", TS, {})
    with pytest.raises(ForgetError, match=r"3 runs are named same\. Give the uid of one"):
        await kept.forget("same")
    row, removed = await kept.forget("same", "team")
    assert (row.run.metadata.uid, removed.keeps_session) == ("a", True)
    with pytest.raises(ForgetError, match="2 runs are named same"):
        await kept.forget("same", "other")


@pytest.mark.slow
async def test_the_command_forgets_a_run_while_the_store_is_in_use(kept: Kept) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "agentrun.store", "forget", "one"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={
            "PYTHONPATH": "operator:.",
            "AGENTRUN_STORE_URL": kept.url,
            "AGENTRUN_BLOBS_URL": kept.blobs_url,
        },
    )
    assert done.returncode == 0, done.stderr
    assert "run run-one (uid one, namespace team) is forgotten" in done.stderr
    assert await kept.store.get_run_by_uid("one") is None


async def test_forgotten_data_is_erased_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "agentrun.db"
    store = await open_store(f"sqlite:///{path}")
    await store.record_run(replace(a_row("one", phase=Phase.FAILED), deleted_at=BEGIN))
    await store.append("one", 1, [an_event(1, text="a leaked s3cret-of-many-letters")])
    await store.forget("one")
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"s3cret-of-many-letters" not in path.read_bytes()
