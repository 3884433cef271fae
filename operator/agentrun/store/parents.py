"""
The parents of the runs of a SQL database, as a column beside their documents.

The previous version does not know the column, and leaves it NULL in the rows that it inserts:
before the upgrade, beside this version during a rolling update, and after a rollback. NULL
therefore means unknown, and is never read as "no parent": a query that finds it fills the column
from the documents first. In the steady state there is none, which the index shows immediately.
"""

import logging

from sqlalchemy import Select, bindparam, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agentrun.store.documents import read_parent_uid
from agentrun.store.tables import runs as run_table
from agentrun.store.transactions import Transactions

_BATCH = 100

_log = logging.getLogger(__name__)


class SqlParents:
    """The queries of a SQL store for the parents of runs."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def count_children(self, namespace: str, uid: str) -> int:
        """See ``RunStore``. One statement, independent of the number of runs."""
        if not uid:
            return 0
        query = counting(namespace, uid)
        while True:
            (found,) = await self._transactions.read(query)
            if not found.is_unfilled:
                return int(found.children)
            await self.fill()

    async def parents_in_session(self, namespace: str, session_name: str, limit: int) -> set[str]:
        """See ``RunStore``."""
        columns = run_table.c
        query = select(columns.parent_uid).distinct().limit(limit)
        query = query.where(columns.namespace == namespace, columns.session_name == session_name)
        while True:
            found = {stored.parent_uid for stored in await self._transactions.read(query)}
            if None not in found:
                return found
            await self.fill()

    async def fill(self) -> None:
        """
        Fill the column in the rows that another version inserted.

        In batches, so that other writers of the rows do not wait for long, and finished batches
        remain if the process ends. A row whose document cannot be read has no parent, until its run
        is recorded again.
        """
        columns, count = run_table.c, 0
        query = select(columns.uid, columns.document).where(columns.parent_uid.is_(None))
        while rows := await self._transactions.read(query.limit(_BATCH)):
            await self._note({row.uid: read_parent_uid(row.document) for row in rows})
            count += len(rows)
        if count:
            _log.info("added the parents of %d runs, which another version recorded", count)

    async def _note(self, parents: dict[str, str]) -> None:
        columns = run_table.c
        row = update(run_table).where(columns.uid == bindparam("of"), columns.parent_uid.is_(None))
        # In the order of the uids, so that concurrent processes do not deadlock.
        values = [{"of": uid, "parent_uid": parents[uid]} for uid in sorted(parents)]

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(row, values)

        await self._transactions.write(write, lambda _: None)


def counting(namespace: str, uid: str) -> Select[tuple[int, bool]]:
    """Select the number of a run's children, and whether any row is not filled."""
    columns = run_table.c
    children = select(func.count()).select_from(run_table)
    children = children.where(columns.parent_uid == uid, columns.namespace == namespace)
    unfilled = exists().where(columns.parent_uid.is_(None))
    return select(children.scalar_subquery().label("children"), unfilled.label("is_unfilled"))
