"""
The interface of the store's databases, and their selection by URL.

All differences between SQLite and PostgreSQL are behind ``Database``; the SQL is the same.
"""

from contextlib import AbstractAsyncContextManager
from typing import Protocol
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agentrun.store.notifier import Notifier
from agentrun.store.postgres import PostgresDatabase
from agentrun.store.sqlite import SqliteDatabase


class Database(Protocol):
    """A database, with what is specific to it."""

    @property
    def name(self) -> str:
        """The name for messages. It never contains a password."""

    @property
    def reader(self) -> AsyncEngine:
        """The engine for read transactions."""

    @property
    def index_reader(self) -> AsyncEngine:
        """
        The engine for transactions whose statements are answered by indexes, in their order.

        This holds even where the database's planner estimates that reading and sorting many rows is
        faster.
        """

    @property
    def writer(self) -> AsyncEngine:
        """The engine for write transactions."""

    def turn(self) -> AbstractAsyncContextManager[object]:
        """Serialize writers, where the database allows one at a time."""

    def migration(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Begin the transaction that changes the tables. No other process does at the same time."""

    async def follow(self, notifier: Notifier) -> None:
        """Wake readers when another process writes, from now on until ``close``."""

    async def notify(self, connection: AsyncConnection, uid: str, last_seq: int | None) -> None:
        """Notify other processes once the transaction of ``connection`` is committed."""

    def explain(self, error: BaseException) -> str | None:
        """
        Return why the database is unavailable and what to do; None for an error in the program.
        """

    async def close(self) -> None:
        """Close all connections."""


def open_database(url: str) -> Database:
    """Open the database of ``url``, without connecting. Raises ValueError for an invalid URL."""
    # A URL may contain a password, so no message may repeat it.
    match urlsplit(url).scheme.partition("+")[0]:
        case "sqlite":
            return SqliteDatabase(url)
        case "postgresql" | "postgres":
            return PostgresDatabase(url)
        case other:
            raise ValueError(
                f"Unknown database {other!r}: use sqlite:////data/agentrun.db"
                " or postgresql://USER:PASSWORD@HOST:5432/DATABASE"
            )
