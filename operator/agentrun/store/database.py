"""
Which database a URL names, and what the store asks of any.

Everything that SQLite and PostgreSQL do differently is behind ``Database``; the SQL is the same.
"""

from contextlib import AbstractAsyncContextManager
from typing import Protocol
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agentrun.store.notifier import Notifier
from agentrun.store.postgres import PostgresDatabase
from agentrun.store.sqlite import SqliteDatabase


class Database(Protocol):
    """A database, and what is different about it."""

    @property
    def name(self) -> str:
        """What to call it in a message. It never holds a password."""

    @property
    def reader(self) -> AsyncEngine:
        """Where reading transactions begin."""

    @property
    def index_reader(self) -> AsyncEngine:
        """
        Where transactions begin whose statements are answered by indexes, in the order of these,
        also where the database believes that to read and sort many rows were faster.
        """

    @property
    def writer(self) -> AsyncEngine:
        """Where writing transactions begin."""

    def turn(self) -> AbstractAsyncContextManager[object]:
        """Hold back a writer until it is its turn, where writers must take turns."""

    def migration(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Begin the transaction that changes the tables. No other process does at the same time."""

    async def follow(self, notifier: Notifier) -> None:
        """Wake readers when another process writes, from now on until ``close``."""

    async def notify(self, connection: AsyncConnection, uid: str, last_seq: int | None) -> None:
        """Tell other processes, once the transaction of ``connection`` is committed."""

    def explain(self, error: BaseException) -> str | None:
        """Say why the database cannot be used and what to do; None for an error in the program."""

    async def close(self) -> None:
        """Let go of all connections."""


def open_database(url: str) -> Database:
    """Choose the database for ``url``. It is used first by ``migration``; ValueError says why."""
    # A URL may hold a password, so no message may repeat it.
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
