"""
Atomic transactions of a database, independent of the caller's cancellation.

An error of the database, its driver, its network or its disk is raised as
``StoreUnavailableError``.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Row, Select, exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agentrun.store.base import NotStorableError, StoreUnavailableError
from agentrun.store.database import Database
from agentrun.store.postgres_errors import sqlstate_of

_T = TypeVar("_T")
_DATA = "22"
"""PostgreSQL's class of data errors."""


class Transactions:
    """Executes transactions until it is closed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._working = set[asyncio.Task[Any]]()
        self._closed = False

    async def read(self, query: Select[Any], *, by_index: bool = False) -> Sequence[Row[Any]]:
        """
        Return all rows of ``query``; ``by_index`` if indexes contain the answer in order.

        It finishes even if the caller is cancelled, because an interruption costs the connection.
        """

        async def fetch(connection: AsyncConnection) -> Sequence[Row[Any]]:
            found: Sequence[Row[Any]] = (await connection.execute(query)).all()
            return found

        engine = self._database.index_reader if by_index else self._database.reader
        return await self._finished(self._run(engine, fetch))

    async def write(
        self, work: Callable[[AsyncConnection], Awaitable[_T]], wake: Callable[[_T], None]
    ) -> _T:
        """
        Execute ``work`` in a transaction of its own, and wake the readers.

        Both happen even if the caller is cancelled: readers must be notified of what is stored.
        """

        async def write() -> _T:
            async with self._database.turn():
                result = await self._run(self._database.writer, work)
                wake(result)
                return result

        return await self._finished(write())

    async def close(self) -> None:
        """Wait for transactions in progress, and start no new ones."""
        self._closed = True
        await asyncio.gather(*self._working, return_exceptions=True)

    async def _finished(self, work: Coroutine[Any, Any, _T]) -> _T:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # A cancelled caller does not retrieve it.

    async def _run(
        self, engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[_T]]
    ) -> _T:
        async with translated(self._database):
            try:
                return await self._once(engine, work)
            except exc.DBAPIError as error:
                # A server restart closes idle connections. Whether the work was done or not, all of
                # it can be repeated.
                if not error.connection_invalidated:
                    raise
            return await self._once(engine, work)

    async def _once(
        self, engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[_T]]
    ) -> _T:
        if self._closed:
            raise StoreUnavailableError("The store is closed.")
        async with engine.begin() as connection:
            return await work(connection)


@asynccontextmanager
async def translated(database: Database) -> AsyncIterator[None]:
    """Raise StoreUnavailableError for every form of an error of the database."""
    try:
        yield
    except Exception as error:
        why = database.explain(error)
        if why is not None:
            raise StoreUnavailableError(why) from error
        if _is_of_the_input(error):
            cause = str(getattr(error, "orig", None) or error).partition("\n")[0]
            raise NotStorableError(
                f"{database.name} does not accept this value: {cause}"
            ) from error
        raise


def _is_of_the_input(error: BaseException) -> bool:
    """Whether the input is what no database accepts: a NUL, a number or a text too large."""
    if isinstance(error, (UnicodeError, OverflowError, exc.DataError)):
        return True
    return (sqlstate_of(error) or "").startswith(_DATA)
