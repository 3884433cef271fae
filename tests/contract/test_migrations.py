"""
Databases that an older version made, with what it kept in them, on both kinds of database.

``schemas`` holds a dump for each released schema; it is never changed. The newest schema has
nothing to be upgraded to, so the tests add a step of their own to a copy of the steps.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event, insert, text

from agentrun.store import migrations, parents
from agentrun.store.base import MailboxState, RunFilter, StoreError, TooNewError
from agentrun.store.rows import run_columns
from agentrun.store.sql import SqlRunStore, open_store
from agentrun.store.tables import metadata, runs
from dev import postgres
from dev.shell import run
from tests.contract.builders import TS, a_message, a_row, events
from tests.contract.conftest import Databases

SCHEMAS = Path(__file__).parent / "schemas"
SPEC = '"spec":{'
SPEC_OF_A_CHILD = SPEC + '"parent":{"name":"one","uid":"u1","depth":1},'
STEP = """
import sqlalchemy as sa
from alembic import op

revision = "0999"
down_revision = "{newest}"


def upgrade() -> None:
    op.create_table("done", sa.Column("at", sa.Integer, primary_key=True))
    op.add_column("runs", sa.Column("mood", sa.Text, nullable=False, server_default="calm"))
    op.create_index("runs_by_mood", "runs", ["mood"])
    op.execute("INSERT INTO done VALUES (1)")
    op.execute("UPDATE runs SET mood = 'done' WHERE sealed")
"""


class Old:
    """A database made by an older version."""

    def __init__(self, url: str, query: Callable[[str], str], version: str) -> None:
        self.url = url
        self.query = query
        self.version = version


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A database without any tables."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/new.db"
    databases: Databases = request.getfixturevalue("databases")
    return databases.make(template="template0")


@pytest.fixture(params=["0001", "0002", "0003", "0004"])
def old(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Old:
    dump = SCHEMAS / f"{request.param}-{kind}.sql"
    if kind == "sqlite":
        return _old_sqlite(tmp_path / "old.db", dump, request.param)
    databases: Databases = request.getfixturevalue("databases")
    url = databases.make(template="template0")
    run([postgres.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", dump])
    name = urlsplit(url).path[1:]
    return Old(url, lambda query: databases.server.sql(query, name), request.param)


def _old_sqlite(path: Path, dump: Path, version: str) -> Old:
    def query(words: str) -> str:
        with sqlite3.connect(path) as connection:
            found = connection.execute(words).fetchall()
        connection.close()
        return "\n".join("|".join(map(str, row)) for row in found)

    with sqlite3.connect(path) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
    connection.close()
    return Old(f"sqlite:///{path}", query, version)


@pytest.fixture
def next_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Pretend that the next version has one more step."""
    copy = tmp_path / "migrations"
    shutil.copytree(migrations._HERE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    newest = max(path.name[:4] for path in (copy / "versions").glob("*.py"))
    step = copy / "versions" / "0999_mood.py"
    step.write_text(STEP.replace("{newest}", newest))
    monkeypatch.setattr(migrations, "_HERE", copy)
    return step


def write(step: Path, text: str) -> None:
    """Write a step."""
    step.write_text(text)


async def check_what_was_kept(store: SqlRunStore) -> None:
    page = await store.list_runs(RunFilter(), 10)
    told = [(row.run.metadata.name, row.run.phase, row.last_seq, row.sealed) for row in page.rows]
    assert told == [
        ("three", "Queued", 0, False),
        ("two", "Running", 4, False),
        ("one", "Completed", 4, True),
    ]
    journal = await store.read("u1", 0, 10)
    kinds = [(event.seq, str(event.type)) for event in journal]
    assert kinds == [
        (1, "run_started"),
        (2, "agent_message"),
        (3, "run_completed"),
        (4, "status_changed"),
    ]
    assert journal[1].data == {"text": "Ünï 🚀 \x00 text"}
    # And it goes on: attempts, heads and seals are as they were left.
    assert (await store.append("u2", 2, events(4, 6))).last_seq == 6
    assert (await store.seal("u3", "seal", TS, {"status": "failed"})).last_seq == 1
    await store.record_run(a_row("u4", "four"))


async def test_the_migrations_create_the_tables_that_the_code_expects(new_url: str) -> None:
    def difference(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    store = await open_store(new_url)
    async with store._database.reader.connect() as connection:
        assert await connection.run_sync(difference) == []
    await store.close()


async def test_the_current_version_continues_with_data_of_an_older_version(old: Old) -> None:
    store = await open_store(old.url)
    await check_what_was_kept(store)
    await store.close()


@pytest.mark.parametrize("old", ["0002", "0003", "0004"], indirect=True)
async def test_messages_of_an_older_version_are_kept_and_numbering_continues(old: Old) -> None:
    store = await open_store(old.url)
    box = store.messages
    assert await box.mailbox("s-1") == MailboxState(last_seq=2, delivered_seq=1)
    first, second = await box.fetch("s-1", 0, 10)
    assert first.sent == a_message("m-1", sender="two", metadata={"kind": "note", "none": None})
    assert (second.sent, second.seq) == (a_message("m-2"), 2)
    assert (await box.send(a_message("m-3"))).seq == 3
    assert (await box.send(a_message("m-2"))).seq == 2
    await store.close()


@pytest.mark.parametrize("old", ["0001", "0002"], indirect=True)
async def test_children_that_an_older_version_recorded_are_counted(
    old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parents, "_BATCH", 1)
    child = f"replace(document, '{SPEC}', '{SPEC_OF_A_CHILD}')"
    for uid, document in (("u2", child), ("u3", "'{'")):
        _change(old, f"UPDATE runs SET document = {document} WHERE uid = '{uid}'")
    stores = await asyncio.gather(*(open_store(old.url) for _ in range(3)))
    assert old.query("SELECT uid FROM runs WHERE parent_uid IS NULL") == ""
    assert await stores[0].count_children("team", "u1") == 1
    assert await stores[0].parents_in_session("team", "one", 10) == {""}
    assert await stores[0].parents_in_session("team", "three", 10) == {""}
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.parametrize("old", ["0003", "0004"], indirect=True)
async def test_children_that_were_counted_stay_counted(old: Old) -> None:
    store = await open_store(old.url)
    assert await store.count_children("team", "u1") == 1
    assert await store.count_children("team", "u2") == 0
    await store.close()


@pytest.mark.parametrize("old", ["0002"], indirect=True)
async def test_a_child_that_the_previous_version_records_concurrently_is_counted(old: Old) -> None:
    store = await open_store(old.url)
    parent = {"name": "one", "uid": "u1", "depth": 1}
    known: dict[str, Any] = {"session": {"name": "talk"}, "parent": parent}
    for number in range(3):
        row = a_row(f"old-{number}", **known)
        columns = {**store._first(row.run.metadata.uid), **run_columns(row)}
        del columns["parent_uid"]  # The version before knows no such column.
        async with store._database.writer.begin() as connection:
            await connection.execute(insert(runs).values(columns))
        if number < 2:
            assert await store.count_children("team", "u1") == number + 1
    assert await store.parents_in_session("team", "talk", 10) == {"u1"}
    changed = old.query("SELECT count(*) FROM runs WHERE updated != first_seen AND uid LIKE 'old%'")
    assert changed == "0", "nobody hears of what is no news"
    await store.close()


async def test_children_are_counted_by_one_statement_that_uses_an_index(new_url: str) -> None:
    store = await open_store(new_url)
    for number in range(30):
        await store.record_run(a_row(f"u{number}"))
    said = list[str]()

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        said.append(statement)

    engine = store._database.reader.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    assert await store.count_children("team", "u1") == 0
    event.remove(engine, "before_cursor_execute", note)
    assert len([one for one in said if "SELECT" in one]) == 1
    async with store._database.reader.connect() as connection:
        plan = await connection.run_sync(_plan_of_counting)
    assert plan.count("runs_by_parent") == 2, plan
    await store.close()


def _plan_of_counting(connection: Connection) -> str:
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        # A table of a few rows is read as a whole, and one that it has not seen is all alike.
        connection.execute(text("ANALYZE runs"))
        connection.execute(text("SET enable_seqscan = off"))
    explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
    query = parents.counting("team", "u1").compile(
        dialect=connection.dialect, compile_kwargs={"literal_binds": True}
    )
    return "\n".join(map(str, connection.exec_driver_sql(explain + str(query))))


@pytest.mark.usefixtures("next_step")
async def test_a_migration_applies_to_a_populated_database(old: Old) -> None:
    store = await open_store(old.url)
    assert old.query("SELECT uid, mood FROM runs ORDER BY uid") == "u1|done\nu2|calm\nu3|calm"
    await check_what_was_kept(store)
    await store.close()


@pytest.mark.usefixtures("next_step")
async def test_one_of_many_concurrent_starts_runs_the_migration(old: Old) -> None:
    stores = await asyncio.gather(*(open_store(old.url) for _ in range(6)))
    assert old.query("SELECT count(*) FROM done") == "1"
    assert old.query("SELECT version_num FROM alembic_version") == "0999"
    await check_what_was_kept(stores[3])
    await asyncio.gather(*(store.close() for store in stores))


async def test_concurrent_starts_create_the_tables_once(databases: Databases) -> None:
    url = databases.make(template="template0")
    stores = await asyncio.gather(*(open_store(url) for _ in range(6)))
    await asyncio.gather(*(store.record_run(a_row()) for store in stores))
    await asyncio.gather(*(store.close() for store in stores))


async def test_an_older_version_keeps_working_after_an_additive_migration(
    old: Old, next_step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await open_store(old.url)
    after = await open_store(old.url)
    monkeypatch.setattr(migrations, "_HERE", Path(migrations.__file__).parent)
    await check_what_was_kept(before)
    restarted = await open_store(old.url)
    assert (await restarted.append("u2", 2, events(7, 7))).last_seq == 7
    await asyncio.gather(before.close(), after.close(), restarted.close())


async def test_a_failed_migration_changes_nothing(old: Old, next_step: Path) -> None:
    good = STEP.replace("{newest}", "0004")
    write(next_step, good + "    op.execute('UPDATE nothing SET no = 1')")
    with pytest.raises(StoreError):
        await open_store(old.url)
    assert old.query("SELECT version_num FROM alembic_version") == old.version
    write(next_step, good)
    store = await open_store(old.url)
    await check_what_was_kept(store)
    await store.close()


async def test_a_database_migrated_by_an_incompatible_newer_version_is_refused(old: Old) -> None:
    store = await open_store(old.url)
    await store.close()
    _change(old, "UPDATE alembic_version SET version_num = '1000'")
    with pytest.raises(TooNewError, match=r"to 1000; this version knows 0004.*restore the backup"):
        await open_store(old.url)
    assert old.query("SELECT version_num FROM alembic_version") == "1000"


def _change(old: Old, command: str) -> None:
    if old.url.startswith("sqlite"):
        with sqlite3.connect(old.url.removeprefix("sqlite:///")) as connection:
            connection.execute(command)
        connection.close()
    else:
        old.query(command)


def test_every_schema_that_was_released_is_kept_as_a_dump() -> None:
    steps = {path.name[:4] for path in (migrations._HERE / "versions").glob("*.py")}
    assert {path.name[:4] for path in SCHEMAS.glob("*.sql")} == steps
