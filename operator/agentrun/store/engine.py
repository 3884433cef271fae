"""
Opening a database: what is different about SQLite, and nothing else, lives here.

SQLite runs in WAL mode, so that reading never waits for writing. ``synchronous`` is FULL: a
runner throws an event away once it is acknowledged, so it must survive not only this process but
also the node; NORMAL would lose the last commits with the power, and the journal would be left
behind what the runner knows. It costs one fsync for each batch.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

WRITES = {"agentrun_writes": True}
"""Execution options of a connection that writes."""

_BUSY_SECONDS = 5
_PRAGMAS = (
    f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}",
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    # After a burst the log shrinks again, instead of keeping its largest size for ever.
    "PRAGMA journal_size_limit = 67108864",
)
_FILE = "agentrun_file"


def open_engine(url: str) -> AsyncEngine:
    """Make the engine for ``sqlite:///PATH`` or ``postgresql://...``. It connects on first use."""
    parsed = make_url(url)
    match parsed.get_backend_name():
        case "sqlite":
            return _open_sqlite(parsed)
        case "postgresql":
            return create_async_engine(
                parsed.set(drivername="postgresql+asyncpg"), pool_pre_ping=True
            )
        case other:
            raise ValueError(f"Unknown database {other!r}: use sqlite:///PATH or postgresql://...")


def _open_sqlite(url: URL) -> AsyncEngine:
    if not url.database or url.database == ":memory:":
        raise ValueError(f"{url} names no file: use sqlite:////data/agentrun.db")
    path = Path(url.database).absolute()
    # A connection never creates the file: when it is gone, that must not pass for an empty one.
    database = URL.create(
        "sqlite+aiosqlite",
        database=f"file:{quote(str(path))}",
        query={"mode": "rw", "uri": "true"},
    )
    engine = create_async_engine(
        database, connect_args={"isolation_level": None, "timeout": _BUSY_SECONDS}, pool_timeout=10
    )
    _Sqlite(path).attach(engine)
    return engine


class _Sqlite:
    """What each connection to a SQLite file needs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def attach(self, engine: AsyncEngine) -> None:
        event.listen(engine.sync_engine, "connect", self._connected)
        event.listen(engine.sync_engine, "checkout", self._checked_out)
        event.listen(engine.sync_engine, "begin", _begin)

    def _connected(self, connection: Any, record: Any) -> None:
        try:
            record.info[_FILE] = self._identity()
            cursor = connection.cursor()
            for pragma in _PRAGMAS:
                cursor.execute(pragma)
            cursor.close()
        except BaseException:
            # Nobody else knows of it yet, and it owns a thread.
            connection.close()
            raise

    def _checked_out(self, connection: Any, record: Any, _: Any) -> None:
        # SQLite goes on writing to a file that was unlinked or replaced, and would say that
        # everything is stored.
        if record.info[_FILE] != self._identity():
            raise InvalidatePoolError(f"{self._path} was replaced")

    def _identity(self) -> tuple[int, int]:
        found = os.stat(self._path)  # noqa: PTH116 - errors name the path
        return found.st_dev, found.st_ino


def create_file(url: str) -> None:
    """Make SQLite's file, where there is none yet, with its folder."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return
    path = Path(parsed.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)


def _begin(connection: Connection) -> None:
    """
    Begin a transaction, which Python's own driver would put off until the first change.

    A writer takes the lock at once: a reader that becomes a writer is refused without waiting.
    """
    writes = connection.get_execution_options().get("agentrun_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
