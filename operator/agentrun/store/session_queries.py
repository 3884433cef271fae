"""
Queries for the runs that changed last, and for those that represent their sessions.

Each is answered by indexes in the requested order, so that the cost does not depend on the number
of runs in a namespace or a session.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    String,
    column,
    literal,
    select,
    tuple_,
    values,
)

from agentrun.store.base import SessionKey, SessionRun
from agentrun.store.paging import Place
from agentrun.store.rows import read_session_run
from agentrun.store.tables import runs as run_table
from agentrun.store.transactions import Transactions

_AT_ONCE = 100
"""The number of sessions in one statement: databases limit a statement's parameters."""
_C = run_table.c
_OTHERS = run_table.alias("others")
_LIGHT = (_C.uid, _C.session_name, _C.session_uid, _C.phase, _C.cwd, _C.updated, _C.created)


class SqlSessionQueries:
    """The queries of a SQL store for the runs that changed last."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def session_runs(self, uids: Sequence[str]) -> list[SessionRun]:
        """See ``RunStore``."""
        runs = list[SessionRun]()
        for start in range(0, len(uids), _AT_ONCE):
            query = select(*_LIGHT).where(_C.uid.in_(uids[start : start + _AT_ONCE]))
            runs += [read_session_run(stored) for stored in await self._transactions.read(query)]
        return runs

    async def changed_runs(
        self, namespace: str, limit: int, before: Place | None
    ) -> list[SessionRun]:
        """See ``RunStore``."""
        found = await self._transactions.read(changed(namespace, limit, before), by_index=True)
        return [read_session_run(stored) for stored in found]

    async def standing_runs(
        self, namespace: str, sessions: Sequence[SessionKey]
    ) -> dict[SessionKey, SessionRun]:
        """See ``RunStore``."""
        best: dict[SessionKey, SessionRun] = {}
        for start in range(0, len(sessions), _AT_ONCE):
            some = sessions[start : start + _AT_ONCE]
            query = foremost(namespace, some)
            for stored in await self._transactions.read(query, by_index=True):
                run = read_session_run(stored)
                key = (run.session_name, run.session_uid)
                best[key] = max(best.get(key, run), run, key=_rank)
        standing = {}
        for name, uid in sessions:
            found = [best[key] for key in ((name, uid), (name, "")) if key in best]
            if found:
                standing[name, uid] = max(found, key=_rank)
        return standing


def changed(namespace: str, limit: int, before: Place | None) -> Select[Any]:
    """Select the runs that changed last. The index ``runs_by_change`` has this order."""
    query = select(*_LIGHT).where(_C.namespace == namespace).limit(limit)
    if before is not None:
        query = query.where(tuple_(_C.updated, _C.session_name, _C.uid) < tuple_(*before))
    return query.order_by(_C.updated.desc(), _C.session_name.desc(), _C.uid.desc())


def foremost(namespace: str, sessions: Sequence[SessionKey]) -> Select[Any]:
    """
    Select each session's latest changed run of each phase: at most one per phase.

    Runs that do not know their session's uid are returned beside those that do. The index
    ``runs_by_standing`` has this order. The phases of a session's runs are found by stepping from
    one to the next, each with an index lookup: to read them from its runs would cost as much as
    there are runs.
    """
    given = values(column("name", String), column("uid", String), name="given").data(sessions)
    asked = given.cte("asked").c
    each = select(asked.name, asked.uid).union_all(select(asked.name, literal("").label("uid")))
    of = each.cte("each").c
    phases = select(of.name, of.uid, _phase(namespace, of).label("phase"))
    found = phases.cte("found", recursive=True)
    of = found.c
    next_phase = _phase(namespace, of, _OTHERS.c.phase > of.phase)
    found = found.union_all(select(of.name, of.uid, next_phase).where(of.phase.is_not(None)))
    columns, of = _OTHERS.c, found.c
    newest = (
        select(columns.uid)
        .where(*_of_session(namespace, of), columns.phase == of.phase)
        .order_by(columns.updated.desc(), columns.created.desc(), columns.uid.desc())
        .limit(1)
        .scalar_subquery()
    )
    return select(*_LIGHT).join_from(found, run_table, _C.uid == newest)


def _phase(namespace: str, of: Any, *after: ColumnElement[bool]) -> ScalarSelect[Any]:
    """Select the first phase that runs of a session are in."""
    query = select(_OTHERS.c.phase).where(*_of_session(namespace, of), *after)
    return query.order_by(_OTHERS.c.phase).limit(1).scalar_subquery()


def _of_session(namespace: str, of: Any) -> tuple[ColumnElement[bool], ...]:
    columns = _OTHERS.c
    return (
        columns.namespace == namespace,
        columns.session_name == of.name,
        columns.session_uid == of.uid,
    )


def _rank(run: SessionRun) -> tuple[Any, ...]:
    return run.rank
