"""What only a file can suffer: a killed process, a full disk, locks, and its own disappearance."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from agentrun.store.base import JournalHead, StoreUnavailableError
from agentrun.store.sql import SqlRunStore, open_store
from agentrun.store.sqlite import SqliteDatabase
from tests.contract.builders import TS, a_row, an_event, events

ROOT = Path(__file__).parents[2]
DEATH = """
import asyncio, os, signal, sys
from agentrun.store.sql import open_store
from tests.contract.builders import a_row, events

async def main():
    store = await open_store(sys.argv[1])
    await store.record_run(a_row())
    for first in range(1, 41, 4):
        head = await store.append("uid-1", 1, events(first, first + 3))
        print(head.last_seq, flush=True)
    asyncio.create_task(store.append("uid-1", 1, events(41, 44)))
    await asyncio.sleep(0)  # So that it has begun.
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agentrun.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlRunStore]:
    opened = await open_store(f"sqlite:///{path}")
    await opened.record_run(a_row())
    yield opened
    await opened.close()


async def recovers(store: SqlRunStore, seq: int) -> None:
    """Check that everything works, and that nothing was stored in between."""
    assert await store.head("uid-1") == JournalHead(seq)
    await store.append("uid-1", 1, events(seq + 1, seq + 2))
    assert len(await store.read("uid-1", 0, 1000)) == seq + 2


async def fill(store: SqlRunStore) -> None:
    """Append until it no longer works."""
    for seq in range(3, 100):
        await store.append("uid-1", 1, [an_event(seq, text="x" * 60_000)])


def move(source: Path, target: Path) -> None:
    """Move a file, and leave the log that SQLite keeps beside it to it."""
    assert not target.exists(), "an empty database must not take its place"
    source.rename(target)


def put(path: Path, body: bytes) -> None:
    """Make a file."""
    path.write_bytes(body)


async def test_stored_data_survives_reopening(path: Path) -> None:
    for first in (1, 3):
        store = await open_store(f"sqlite:///{path}")
        await store.record_run(a_row())
        await store.append("uid-1", 1, events(first, first + 1))
        await store.close()
    store = await open_store(f"sqlite:///{path}")
    assert [event.seq for event in await store.read("uid-1", 0, 10)] == [1, 2, 3, 4]
    await store.close()


async def test_an_acknowledged_event_survives_a_killed_process(path: Path) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", DEATH, f"sqlite:///{path}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": "operator:."},
    )
    assert done.returncode == -9, done.stderr
    acknowledged = int(done.stdout.split()[-1])
    assert acknowledged == 40
    store = await open_store(f"sqlite:///{path}")
    journal = await store.read("uid-1", 0, 1000)
    assert [event.seq for event in journal] == list(range(1, len(journal) + 1))
    assert len(journal) in (40, 44), "a batch is stored whole or not at all"
    await store.close()


async def test_commits_are_synchronous_and_reads_use_the_log(store: SqlRunStore) -> None:
    async with store._database.reader.connect() as connection:
        for pragma, value in (("synchronous", 2), ("journal_mode", "wal"), ("foreign_keys", 1)):
            assert (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar() == value


async def test_a_full_disk_is_unavailable_until_there_is_room(store: SqlRunStore) -> None:
    await store.append("uid-1", 1, events(1, 2))
    pages = 0

    def limit(connection: object, *_: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute(f"PRAGMA max_page_count = {pages}")
        cursor.close()

    event.listen(store._database.reader.sync_engine, "checkout", limit)
    pages = 1  # SQLite takes the present size for a smaller one.
    with pytest.raises(StoreUnavailableError, match="full") as error:
        await fill(store)
    assert error.value.__cause__ is not None
    with pytest.raises(StoreUnavailableError, match="full"):
        await store.record_run(a_row("uid-2", prompt="y" * 120_000))
    head = await store.head("uid-1")
    assert len(await store.read("uid-1", 0, 1000)) == head.last_seq
    pages = 1_000_000
    await recovers(store, head.last_seq)


async def test_a_locked_database_is_unavailable_until_it_is_unlocked(
    store: SqlRunStore, path: Path
) -> None:
    await store.append("uid-1", 1, events(1, 2))

    def hurry(connection: object, *_: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA busy_timeout = 10")
        cursor.close()

    event.listen(store._database.reader.sync_engine, "checkout", hurry)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(20):  # More often than there are connections to lose.
        with pytest.raises(StoreUnavailableError, match="locked"):
            await store.append("uid-1", 1, events(3, 4))
    assert len(await store.read("uid-1", 0, 10)) == 2, "reading does not wait for writing"
    other.execute("COMMIT")
    other.close()
    await recovers(store, 2)


async def test_a_deleted_database_file_is_unavailable_until_it_is_restored(
    store: SqlRunStore, path: Path
) -> None:
    await store.append("uid-1", 1, events(1, 2))
    move(path, path.with_suffix(".away"))
    for _ in range(20):
        with pytest.raises(StoreUnavailableError, match=r"agentrun\.db"):
            await store.append("uid-1", 1, events(3, 4))
        with pytest.raises(StoreUnavailableError, match=r"agentrun\.db"):
            await store.head("uid-1")
    move(path.with_suffix(".away"), path)
    await recovers(store, 2)


async def test_a_replaced_database_file_is_reopened(
    store: SqlRunStore, path: Path, tmp_path: Path
) -> None:
    await store.append("uid-1", 1, events(1, 2))
    other = await open_store(f"sqlite:///{tmp_path}/other.db")
    await other.record_run(a_row())
    await other.append("uid-1", 1, events(1, 5))
    await other.close()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    (tmp_path / "other.db").replace(path)
    await recovers(store, 5)


async def test_a_damaged_file_is_unavailable(path: Path) -> None:
    put(path, b"this is no database, whatever its name says" * 100)
    with pytest.raises(StoreUnavailableError, match="not a database"):
        await open_store(f"sqlite:///{path}")


async def test_a_folder_that_cannot_be_created_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailableError):
        await open_store(f"sqlite:///{tmp_path}/file/agentrun.db")


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "mysql://host/db"],
    ids=["no-file", "memory", "mysql"],
)
async def test_a_url_of_an_unsupported_database_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///"):
        await open_store(url)


async def test_a_path_may_contain_characters_that_urls_escape(tmp_path: Path) -> None:
    path = tmp_path / "a b%20c#d"
    path.mkdir()
    store = await open_store(f"sqlite:///{path}/x.db".replace("%", "%25"))
    await store.record_run(a_row())
    await store.close()
    assert [found.name for found in path.iterdir()] == ["x.db"]
    shutil.rmtree(path)


async def test_closing_leaves_no_thread_and_no_write_ahead_log(path: Path) -> None:
    before = threading.active_count()
    store = await open_store(f"sqlite:///{path}")
    await store.record_run(a_row())
    await asyncio.gather(*(store.get_run_by_uid("uid-1") for _ in range(30)))
    await store.seal("uid-1", "seal", TS, {"status": "failed"})
    assert threading.active_count() > before
    await store.close()
    for thread in threading.enumerate():
        if "_connection_worker" in thread.name:
            thread.join(30)
            assert not thread.is_alive()
    assert [found.name for found in path.parent.iterdir()] == [path.name]


async def test_concurrent_opens_convert_a_file_from_rollback_mode(tmp_path: Path) -> None:
    for number in range(150):
        file = tmp_path / f"{number}.db"
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("CREATE TABLE kept (what TEXT)")
        databases = [SqliteDatabase(f"sqlite:///{file}") for _ in range(6)]
        # Threads that begin together, as the processes of a deployment may.
        await asyncio.gather(*(asyncio.to_thread(database._create) for database in databases))
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_cancelled_reader_closes_no_connection(store: SqlRunStore) -> None:
    closed: list[object] = []
    event.listen(store._database.reader.sync_engine, "close", lambda *_: closed.append(None))
    for turns in range(20):
        reading = asyncio.create_task(store.read("uid-1", 0, 10))
        for _ in range(turns):
            await asyncio.sleep(0)  # It goes away at another step each time.
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert await store.head("uid-1") == JournalHead(0)
    assert closed == []
