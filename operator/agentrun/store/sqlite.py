"""
A SQLite database.

It runs in WAL mode, so that reads never wait for writes. ``synchronous`` is FULL: a runner deletes
an event once it is acknowledged, so the event must survive not only a failure of this process but
also of the node; NORMAL would lose the last commits in a power failure, and the journal would be
behind the runner's state. It costs one fsync for each batch.

SQLite allows one writer at a time; an in-process queue has shorter waits than SQLite's busy
retries. Only one process may write, so there are no other processes to notify.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, event, exc, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from agentrun.store.notifier import Notifier

_WRITES = {"agentrun_writes": True}
_BUSY_SECONDS = 5
_WAL = "PRAGMA journal_mode = WAL"
_PRAGMAS = (
    f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}",
    "PRAGMA foreign_keys = ON",
    _WAL,
    "PRAGMA synchronous = FULL",
    # Removed data is overwritten in the file, not only unlinked from its lists.
    "PRAGMA secure_delete = ON",
    # After a burst the WAL shrinks again, instead of retaining its largest size.
    "PRAGMA journal_size_limit = 67108864",
)
_FILE = "agentrun_file"
_FOREIGN = ("no such table", "no such column", "has no column")


class SqliteDatabase:
    """The database in the file of ``sqlite:///PATH``."""

    def __init__(self, url: str) -> None:
        self._path = file_of(url)
        self.name = f"The database {self._path}"
        self.reader = self._engine()
        # SQLite uses indexes wherever it can, since no statistics were collected for its tables.
        self.index_reader = self.reader
        self.writer = self.reader.execution_options(**_WRITES)
        self._turn = asyncio.Lock()

    def turn(self) -> AbstractAsyncContextManager[object]:
        """See ``Database``."""
        return self._turn

    @asynccontextmanager
    async def migration(self) -> AsyncIterator[AsyncConnection]:
        """See ``Database``."""
        await asyncio.to_thread(self._create)
        # BEGIN IMMEDIATE prevents concurrent changes of the tables.
        async with self.writer.begin() as connection:
            yield connection

    async def follow(self, notifier: Notifier) -> None:
        """See ``Database``."""

    async def notify(self, connection: AsyncConnection, uid: str, last_seq: int | None) -> None:
        """See ``Database``."""

    def explain(self, error: BaseException) -> str | None:
        """See ``Database``."""
        cause = getattr(error, "orig", None) or error
        if isinstance(error, (exc.IntegrityError, exc.ProgrammingError, exc.DataError)):
            return None
        if any(words in str(cause) for words in _FOREIGN):
            return (
                f"{self.name} does not have the tables of this version of AgentRun ({cause}): it"
                " was emptied or replaced while in use. Restore it from a backup, or restart the"
                " MCP server to continue with its present contents."
            )
        if isinstance(error, (exc.SQLAlchemyError, sqlite3.Error)):
            return f"{self.name} is unavailable: {cause}"
        return f"{self.name} cannot be reached: {error}" if isinstance(error, OSError) else None

    async def close(self) -> None:
        """See ``Database``."""
        await self.reader.dispose()

    def _engine(self) -> AsyncEngine:
        # A connection never creates the file: a missing one must not be taken for an empty
        # database.
        database = URL.create(
            "sqlite+aiosqlite",
            database=f"file:{quote(str(self._path))}",
            query={"mode": "rw", "uri": "true"},
        )
        engine = create_async_engine(
            database,
            connect_args={"isolation_level": None, "timeout": _BUSY_SECONDS},
            pool_timeout=10,
            hide_parameters=True,
        )
        event.listen(engine.sync_engine, "connect", self._connected)
        event.listen(engine.sync_engine, "checkout", self._checked_out)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine

    def _create(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(self._path.parent):
            self._path.touch(mode=0o600)
            # To leave the rollback mode of an older file, SQLite needs exclusive access, and
            # reports a concurrent attempt as locked immediately: busy_timeout does not apply.
            with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS)) as connection:
                connection.execute(_WAL)

    def _connected(self, connection: Any, record: Any) -> None:
        try:
            record.info[_FILE] = self._identity()
            cursor = connection.cursor()
            for pragma in _PRAGMAS:
                cursor.execute(pragma)
            cursor.close()
        except BaseException:
            # The pool does not know the connection yet, and it owns a thread.
            connection.close()
            raise

    def _checked_out(self, connection: Any, record: Any, _: Any) -> None:
        # SQLite continues to write to a file that was unlinked or replaced, and reports success.
        if record.info[_FILE] != self._identity():
            raise exc.InvalidatePoolError(f"{self._path} was replaced")

    def _identity(self) -> tuple[int, int]:
        found = os.stat(self._path)  # noqa: PTH116 - errors name the path
        return found.st_dev, found.st_ino


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``folder``, against this process and others."""
    # The lock is not on the file: closing a file releases SQLite's locks on it.
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def file_of(url: str) -> Path:
    """Return the file of ``sqlite:///PATH``. Raises ValueError if the URL names none."""
    database = make_url(url).database
    if not database or database == ":memory:":
        raise ValueError(f"{url} does not name a file: use sqlite:////data/agentrun.db")
    return Path(database).absolute()


def _begin(connection: Connection) -> None:
    """
    Begin a writer's transaction, which Python's own driver would defer until the first change.

    It takes the lock immediately: SQLite rejects a reader that becomes a writer without waiting.
    Readers need no transaction: each executes one statement, which SQLite answers from one snapshot
    of the file.
    """
    if connection.get_execution_options().get("agentrun_writes"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
