"""
A PostgreSQL database, which several MCP servers may share.

A writer locks the row of its run, so writers of different runs do not wait for one another. Other
processes are notified of a transaction's changes with NOTIFY, which PostgreSQL sends only when the
transaction is committed.
"""

import os
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

import asyncpg
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import ExceptionContext, event, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from agentrun.store.base import StoreUnavailableError
from agentrun.store.listener import CHANNEL, Connection, Listener
from agentrun.store.notifier import Notice, Notifier
from agentrun.store.postgres_errors import READ_ONLY, explain, sqlstate_of

_HOSTS = re.compile(r"(?:[\w.%-]*|\[[\da-fA-F:.%]+\])(?::\d+)?")
URL_ADVICE = (
    "The URL of the store is invalid. Its form is"
    " postgresql://USER:PASSWORD@HOST:5432/DATABASE, with special characters, such as / ? # @ : in"
    " a password, percent-encoded."
)


def dsn_of(url: str) -> str:
    """Return the URL in asyncpg's form. Raises ValueError, without the URL, if it is invalid."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    is_cut_short = "@" in parts.path or ("@" not in parts.netloc and "@" in parts.query)
    if parts.fragment or is_cut_short or not all(_HOSTS.fullmatch(host) for host in hosts):
        raise ValueError(URL_ADVICE)
    return "postgresql" + url[url.index(":") :]


def name_of(dsn: str) -> str:
    """Return a name for the database and its host, for messages."""
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    asked = parts.netloc.rpartition("@")[2] or query.get("host", [""])[0]
    host = asked or os.environ.get("PGHOST") or "localhost"
    found = unquote(parts.path.lstrip("/")) or query.get("dbname", query.get("database", [""]))[0]
    return f"The database {found or os.environ.get('PGDATABASE') or 'of the user'} at {host}"


CONNECTIONS = 10
"""The maximum number of connections of one process, beside the one that listens."""

_CONNECT_SECONDS = 10
_STATEMENT_SECONDS = 15
_POOL_SECONDS = 10
_MIGRATIONS = 0x6167656E7472756E
"""The advisory lock for changes of the tables: "agentrun" in ASCII."""

# A process that hangs in a transaction must not lock a run's row forever; and acknowledged writes
# must be on disk, even if the server's default for synchronous_commit is off.
_SESSION = """
SET lock_timeout = '10s';
SET idle_in_transaction_session_timeout = '30s';
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') = 'off';
"""

_BY_INDEX = {"agentrun_by_index": True}
# PostgreSQL's statistics may be outdated, and do not describe the one session with the most runs.
_AVOIDED = ("seqscan", "bitmapscan", "sort", "incremental_sort", "hashjoin", "mergejoin")
_PREFER_INDEXES = select(
    *(func.set_config(f"enable_{way}", "off", True) for way in _AVOIDED),
    # Compiling a plan takes longer than executing it, whatever its estimated cost.
    func.set_config("jit", "off", True),
)


class PostgresDatabase:
    """The database at ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``."""

    def __init__(self, url: str) -> None:
        self._dsn = dsn_of(url)
        self.name = name_of(self._dsn)
        self._sender = uuid4().hex[:12]
        self._listener: Listener | None = None
        self.writer = self._engine(
            pool_size=CONNECTIONS, max_overflow=0, pool_timeout=_POOL_SECONDS
        )
        # Each read is one statement, which needs no BEGIN and no COMMIT around it.
        self.reader = self.writer.execution_options(isolation_level="AUTOCOMMIT")
        self.index_reader = self.writer.execution_options(**_BY_INDEX)

    def turn(self) -> AbstractAsyncContextManager[object]:
        """See ``Database``."""
        return nullcontext()

    @asynccontextmanager
    async def migration(self) -> AsyncIterator[AsyncConnection]:
        """See ``Database``."""
        engine = self._engine(is_bounded=False, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                await connection.execute(text("SET LOCAL lock_timeout = 0"))
                lock = text("SELECT pg_advisory_xact_lock(:number)")
                await connection.execute(lock, {"number": _MIGRATIONS})
                yield connection
        finally:
            await engine.dispose()

    async def follow(self, notifier: Notifier) -> None:
        """See ``Database``."""
        self._listener = Listener(self._connect, self._sender, notifier, self.name)
        await self._listener.start()

    async def notify(self, connection: AsyncConnection, uid: str, last_seq: int | None) -> None:
        """See ``Database``."""
        notice = Notice(self._sender, uid, last_seq).encode()
        statement = text("SELECT pg_notify(:channel, :notice)")
        await connection.execute(statement, {"channel": CHANNEL, "notice": notice})

    def explain(self, error: BaseException) -> str | None:
        """See ``Database``."""
        return explain(self.name, error)

    async def close(self) -> None:
        """See ``Database``."""
        if self._listener:
            await self._listener.stop()
        await self.reader.dispose()

    def _engine(self, *, is_bounded: bool = True, **pool: Any) -> AsyncEngine:
        async def connect() -> Connection:
            return await self._connect(is_bounded)

        # The engine has its own connect function, so SQLAlchemy has no password that it could log.
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            isolation_level="READ COMMITTED",
            hide_parameters=True,
            **pool,
        )
        event.listen(engine.sync_engine, "handle_error", _release_standby)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine

    async def _connect(self, is_bounded: bool = True) -> Connection:
        named = None if "application_name=" in self._dsn else {"application_name": "agentrun"}
        try:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=_CONNECT_SECONDS,
                command_timeout=_STATEMENT_SECONDS if is_bounded else None,
                server_settings=named,
            )
        except ValueError:
            # asyncpg repeats the invalid part of the URL, which may be the password.
            raise StoreUnavailableError(URL_ADVICE) from None
        try:
            await connection.execute(_SESSION)
        except BaseException:
            connection.terminate()
            raise
        return connection


def _begin(connection: SyncConnection) -> None:
    if connection.get_execution_options().get("agentrun_by_index"):
        connection.execute(_PREFER_INDEXES)


def _release_standby(context: ExceptionContext) -> None:
    """
    Discard connections to a primary that became a standby: new ones may reach the new primary.
    """
    if sqlstate_of(context.original_exception) == READ_ONLY:
        context.is_disconnect = True
