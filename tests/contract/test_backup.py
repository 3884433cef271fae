"""Backups, made while the store is written to, and what is found when they are restored."""

import asyncio
import io
import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentrun.store.backup import BackupError, back_up, restore
from agentrun.store.base import ConflictError, RunFilter, StoreUnavailableError
from agentrun.store.blobs import ObjectBlobStore, open_blobs
from agentrun.store.sql import SqlRunStore, open_store
from dev import postgres
from tests.contract.builders import TS, a_row, an_event, events
from tests.contract.conftest import Databases
from tests.contract.waiting import wait_for_event

ROOT = Path(__file__).parents[2]


@dataclass
class Busy:
    """A store that is written to all the time, as an MCP server with a live run does."""

    url: str
    blobs_url: str
    store: SqlRunStore
    blobs: ObjectBlobStore
    acknowledged: int = 0

    async def write(self) -> None:
        while True:
            seq = self.acknowledged + 1
            name = f"runs/uid-1/artifacts/{seq}"
            await self.blobs.put(name, b"%d" % seq, "text/plain")
            await self.store.append("uid-1", 1, [an_event(seq, blob=name)])
            self.acknowledged = seq


async def keep_busy(url: str, blobs_url: str) -> AsyncIterator[Busy]:
    busy = Busy(url, blobs_url, await open_store(url), open_blobs(blobs_url))
    await busy.store.record_run(a_row())
    await busy.store.record_run(a_row("over"))
    await busy.store.append("over", 1, events(1, 5))
    await busy.store.seal("over", "seal", TS, {"status": "completed"})
    writing = asyncio.create_task(busy.write())
    await wait_for_event(busy.store, "uid-1", 10)
    yield busy
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await busy.store.close()


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[Busy]:
    async for one in keep_busy(f"sqlite:///{tmp_path}/a/agentrun.db", f"file://{tmp_path}/a/blobs"):
        yield one


async def check_restored(before: int, url: str, blobs: ObjectBlobStore) -> None:
    """Check that all is there that was acknowledged before the backup, and all of it is whole."""
    store = await open_store(url)
    journal = await store.read("uid-1", 0, 100_000)
    assert len(journal) >= before
    assert [event.seq for event in journal] == list(range(1, len(journal) + 1))
    for event in journal:
        body = b"".join([chunk async for chunk in blobs.read(event.data["blob"])])
        assert body == b"%d" % event.seq, "no event refers to a blob that is missing"
    assert [event.seq for event in await store.read("over", 0, 10)] == [1, 2, 3, 4, 5, 6]
    assert (await store.head("over")).sealed
    assert len((await store.list_runs(RunFilter(), 10)).rows) == 2
    await store.append("uid-1", 1, events(len(journal) + 1, len(journal) + 2))
    await store.close()


def command(name: str, folder: Path, archive: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """Run what ``kubectl exec`` runs in the MCP server's container."""
    return subprocess.run(
        [sys.executable, "-m", "agentrun.store", name],
        input=archive,
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": "operator:.",
            "AGENTRUN_STORE_URL": f"sqlite:///{folder}/agentrun.db",
            "AGENTRUN_BLOBS_URL": f"file://{folder}/blobs",
        },
    )


async def test_a_backup_of_a_busy_mcp_server_is_restored_completely(
    busy: Busy, tmp_path: Path
) -> None:
    before = busy.acknowledged
    done = await asyncio.to_thread(command, "backup", tmp_path / "a")
    assert done.returncode == 0, done.stderr
    assert b"backup of 2 runs" in done.stderr
    restored = await asyncio.to_thread(command, "restore", tmp_path / "b", done.stdout)
    assert restored.returncode == 0, restored.stderr
    assert busy.acknowledged > before, "nobody waited for the backup"
    blobs = open_blobs(f"file://{tmp_path}/b/blobs")
    await check_restored(before, f"sqlite:///{tmp_path}/b/agentrun.db", blobs)
    assert list((tmp_path / "a").glob(".agentrun*")) == [], "no copy is left behind"


async def test_a_backup_overwrites_nothing(busy: Busy, tmp_path: Path) -> None:
    archive = io.BytesIO()
    await back_up(busy.url, busy.blobs, archive)
    archive.seek(0)
    with pytest.raises(BackupError, match=r"already exists\. Stop the MCP server"):
        await restore(busy.url, busy.blobs, archive)
    archive.seek(0)
    blobs = open_blobs(f"file://{tmp_path}/b/blobs")
    await blobs.put("runs/uid-1/artifacts/1", b"other", "text/plain")
    with pytest.raises(ConflictError):
        await restore(f"sqlite:///{tmp_path}/b/x.db", blobs, archive)
    assert not (tmp_path / "b" / "x.db").exists(), "the database comes last"


def cut(archive: bytes) -> bytes:
    return archive[: len(archive) // 2]


def damaged(archive: bytes) -> bytes:
    page = 4096 + 512
    return archive[:page] + b"\xff" * 8192 + archive[page + 8192 :]


def other(_: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("photo.jpg"))
    return made.getvalue()


@pytest.mark.parametrize("change", [cut, damaged, other, lambda _: b"", lambda _: b"x" * 2000])
async def test_an_incomplete_backup_is_refused(
    busy: Busy, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    archive = io.BytesIO()
    await back_up(busy.url, busy.blobs, archive)
    blobs = open_blobs(f"file://{tmp_path}/b/blobs")
    with pytest.raises(BackupError):
        await restore(f"sqlite:///{tmp_path}/b/x.db", blobs, io.BytesIO(change(archive.getvalue())))
    assert list((tmp_path / "b").glob("*x.db*")) == []


async def test_the_command_reports_what_it_cannot_do(tmp_path: Path) -> None:
    done = await asyncio.to_thread(command, "backup", tmp_path)
    assert done.returncode == 1
    assert b"There is no database at" in done.stderr
    with pytest.raises(BackupError, match="use pg_dump"):
        await back_up("postgresql://host/db", open_blobs(f"file://{tmp_path}/b"), io.BytesIO())


# PostgreSQL and a bucket


async def test_a_dump_of_a_busy_postgresql_is_restored_completely(
    databases: Databases, postgres_url: str, bucket: str
) -> None:
    async for busy in keep_busy(postgres_url, bucket):
        before = busy.acknowledged
        # As docs/operations.md has it: first the database, then the bucket.
        dump = [postgres.program("pg_dump"), "--format=custom", "--no-owner", "-d", postgres_url]
        archive = await asyncio.to_thread(subprocess.check_output, dump)
        mirror = open_blobs(f"{bucket}-mirror")
        for key in await busy.blobs.keys():
            body = b"".join([chunk async for chunk in busy.blobs.read(key)])
            await mirror.put(key, body, "text/plain")
        url = databases.make(template="template0")
        await asyncio.to_thread(_pg_restore, url, archive)
        await check_restored(before, url, mirror)


def _pg_restore(url: str, archive: bytes) -> None:
    command = [postgres.program("pg_restore"), "--no-owner", "--exit-on-error", "-d", url]
    subprocess.run(command, input=archive, check=True)


# Going back in time


async def test_a_run_continues_after_the_restored_head(tmp_path: Path, busy: Busy) -> None:
    before, archive = busy.acknowledged, io.BytesIO()
    await back_up(busy.url, busy.blobs, archive)
    await wait_for_event(busy.store, "uid-1", busy.acknowledged + 5)
    archive.seek(0)
    url = f"sqlite:///{tmp_path}/b/agentrun.db"
    await restore(url, open_blobs(f"file://{tmp_path}/b/blobs"), archive)
    store = await open_store(url)
    ahead = busy.acknowledged + 1
    with pytest.raises(ConflictError, match="leaves a gap") as conflict:
        await store.append("uid-1", 1, [an_event(ahead)])
    assert before <= conflict.value.last_seq < ahead - 1
    head = conflict.value.last_seq
    assert (await store.append("uid-1", 1, [an_event(head + 1, f"e-{ahead}")])).last_seq == head + 1
    await store.close()


def empty(path: Path) -> None:
    """Put a database without tables in the place of another."""
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")


async def test_a_database_emptied_while_the_mcp_server_runs_is_reported(
    busy: Busy, tmp_path: Path
) -> None:
    empty(tmp_path / "a" / "agentrun.db")
    with pytest.raises(StoreUnavailableError, match="emptied or replaced while in use"):
        await busy.store.head("uid-1")
