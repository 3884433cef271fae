"""
Pages of the runs of a SQL database, newest first, at a limited cost.

An index has the runs in this order, with most of the columns of the filters, so that runs that do
not match are skipped without reading them.
"""

from typing import Any

from sqlalchemy import Column, ColumnElement, Select, and_, func, or_, select, true, tuple_

from agentrun.store.base import RunFilter, RunPage
from agentrun.store.paging import Place, decode_cursor, encode_cursor
from agentrun.store.rows import read_run
from agentrun.store.tables import runs as run_table
from agentrun.store.transactions import Transactions

_C = run_table.c


class SqlPages:
    """Lists the runs of a SQL store."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def list_runs(
        self, which: RunFilter, limit: int, cursor: str | None, most: int
    ) -> RunPage:
        """See ``RunStore``. It scans ``most`` runs."""
        before = None if cursor is None else decode_cursor(cursor)
        query = walk(which, limit, before, most)
        found = await self._transactions.read(query, by_index=True)
        wanted = [one for one in found if one.is_wanted]
        last = None
        if len(wanted) > limit:
            last = wanted[limit - 1]
        elif found and found[-1].number == most:
            last = found[-1]
        uids = [one.uid for one in wanted[:limit]]
        query = select(run_table).where(_C.uid.in_(uids), *_wanted(which))
        rows = {row.uid: row for row in await self._transactions.read(query)} if uids else {}
        # Runs that were forgotten meanwhile, or no longer match, are left out.
        return RunPage(
            rows=[read_run(rows[uid]) for uid in uids if uid in rows],
            cursor=encode_cursor((last.created, last.name, last.uid)) if last else None,
            looked_at=last.number if last else most,
        )


def walk(which: RunFilter, limit: int, before: Place | None, most: int) -> Select[Any]:
    """
    Select the first ``limit`` matching runs of the next ``most`` below ``before``, and one more.

    The last of the ``most`` is returned even if it does not match: it shows that all were scanned.
    The index ``runs_by_place`` has the runs of a namespace in order, ``runs_by_session`` those of a
    session, and ``runs_by_age`` all. The outer query relies on the inner query's order: another
    ORDER BY would make SQLite read all of the ``most`` before it returns the first.
    """
    place, among = (_C.created, _C.name, _C.uid), _among(which)
    order = (*among, *place)
    newest_first = [column.desc() for column in order]
    number = func.row_number().over(order_by=newest_first).label("number")
    looked_at = select(*place, and_(true(), *_wanted(which)).label("is_wanted"), number)
    # Range conditions instead of equality: with equality, PostgreSQL may use ``runs_by_age``, which
    # has all other runs in between.
    if among:
        looked_at = looked_at.where(tuple_(*among) >= tuple_(*among.values()))
    if before is not None:
        looked_at = looked_at.where(tuple_(*order) < tuple_(*among.values(), *before))
    elif among:
        looked_at = looked_at.where(tuple_(*among) <= tuple_(*among.values()))
    of = looked_at.order_by(*newest_first).limit(most).subquery("looked_at")
    query = select(of).where(or_(of.c.is_wanted, of.c.number == most))
    return query.limit(limit + 1)


def _among(which: RunFilter) -> dict[Column[str], str]:
    """Return the columns and values that all scanned runs have in common."""
    if which.namespaces is None or len(which.namespaces) != 1:
        return {}
    session = {} if which.session_name is None else {_C.session_name: which.session_name}
    return {_C.namespace: which.namespaces[0], **session}


def _wanted(which: RunFilter) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = []
    if which.namespaces is not None:
        wanted.append(_C.namespace.in_(which.namespaces))
    if which.phases is not None:
        wanted.append(_C.phase.in_([phase.value for phase in which.phases]))
    for column, value in (
        (_C.backend, which.backend),
        (_C.session_name, which.session_name),
    ):
        if value is not None:
            wanted.append(column == value)
    return wanted
