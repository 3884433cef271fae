"""
Backup of a SQLite database with the blobs it refers to, while the MCP server is running.

A backup is one tar archive. A consistent copy of the database comes first, then the blobs: a blob
is stored before the event that refers to it and is never changed, so every blob that the copy
refers to exists. A restore renames the database to its final name last.

PostgreSQL and buckets have their own backup tools; docs/operations.md describes the order in which
they are to be used.
"""

import asyncio
import io
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from agentrun.store.base import BlobStore, StoreError
from agentrun.store.blobs import ObjectBlobStore
from agentrun.store.folder import sync_folder
from agentrun.store.sqlite import file_of

DATABASE = "agentrun.db"
BLOBS = "blobs/"


class BackupError(StoreError):
    """A backup cannot be made or restored. The message says what to do."""


async def back_up(store_url: str, blobs: ObjectBlobStore, target: IO[bytes]) -> tuple[int, int]:
    """
    Write an archive to ``target``. Returns the numbers of runs and of blobs in it.

    Raises BackupError if the database is missing, damaged or not SQLite.
    """
    path = _sqlite(store_url)
    if not path.exists():
        raise BackupError(f"There is no database at {path}.")
    with tarfile.open(fileobj=target, mode="w|") as archive:
        with _scratch(path) as copy:
            runs = await asyncio.to_thread(_copy, path, copy)
            archive.add(copy, DATABASE)
        count = 0
        for key in await blobs.keys():
            body = b"".join([chunk async for chunk in blobs.read(key)])
            archive.addfile(_entry(BLOBS + key, len(body)), io.BytesIO(body))
            count += 1
    return runs, count


async def restore(store_url: str, blobs: BlobStore, source: IO[bytes]) -> tuple[int, int]:
    """
    Restore the archive in ``source``. Returns the numbers of runs and of blobs in it.

    Nothing is replaced. Raises BackupError if the database exists or the archive is invalid, and
    ConflictError if a blob exists with other bytes.
    """
    path = _sqlite(store_url)
    for there in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        if there.exists():
            raise BackupError(
                f"{there} already exists. Stop the MCP server, move the database away together"
                " with its -wal and -shm files, and restore again."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(path) as copy, _reading(source) as archive:
        first = archive.next()
        if first is None or first.name != DATABASE:
            raise BackupError(
                "This is not a backup of AgentRun: it does not begin with a database."
            )
        await asyncio.to_thread(_write, copy, _body(archive, first))
        runs = await asyncio.to_thread(_check, copy)
        count = await _restore_blobs(archive, blobs)
        copy.rename(path)
        sync_folder(path.parent)
    return runs, count


async def _restore_blobs(archive: tarfile.TarFile, blobs: BlobStore) -> int:
    count = 0
    while entry := archive.next():
        if not entry.name.startswith(BLOBS):
            raise BackupError(f"This is not a backup of AgentRun: it contains {entry.name!r}.")
        body = _body(archive, entry).read()
        await blobs.put(entry.name.removeprefix(BLOBS), body, "application/octet-stream")
        count += 1
    return count


def _sqlite(url: str) -> Path:
    if not url.startswith("sqlite:"):
        raise BackupError("This command supports only SQLite: use pg_dump for PostgreSQL.")
    return file_of(url)


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """
    Create a temporary file beside the database, on the volume with the most likely free space.
    """
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(number)
    copy = Path(name)
    try:
        yield copy
    finally:
        for end in ("", "-wal", "-shm"):
            copy.with_name(copy.name + end).unlink(missing_ok=True)


def _copy(path: Path, copy: Path) -> int:
    # In one step: SQLite restarts a backup when the database is written to between two steps.
    with (
        closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=30)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target, pages=-1)
        # One file, without a WAL file beside it.
        target.execute("PRAGMA journal_mode = DELETE")
    return _check(copy)


def _check(copy: Path) -> int:
    """Check a copy's integrity, and return the number of its runs."""
    try:
        with closing(sqlite3.connect(copy)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
            if verdict != "ok":
                raise BackupError(f"The database is damaged: {verdict}")
            (runs,) = connection.execute("SELECT count(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"The database is damaged: {error}") from error
    return int(runs)


def _write(copy: Path, body: IO[bytes]) -> None:
    with copy.open("wb") as file:
        while chunk := body.read(1024 * 1024):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _reading(source: IO[bytes]) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(fileobj=source, mode="r|") as archive:
            yield archive
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"The archive is truncated or invalid: {error}") from error


def _body(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    body = archive.extractfile(entry)
    if body is None:
        raise BackupError(f"This is not a backup of AgentRun: its {entry.name!r} is not a file.")
    return body


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry
