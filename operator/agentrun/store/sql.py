"""
The store in a SQL database: a SQLite file, or PostgreSQL, depending on the URL.

Every writer locks the row of its run first, which serializes the replicas of a PostgreSQL
installation. Differences between the databases are in ``database``.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, delete, exc, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agentrun.api.events import Event, EventType, NewEvent
from agentrun.api.names import parse_run_id
from agentrun.store.base import (
    MOST_LOOKED_AT,
    Changes,
    Forgotten,
    JournalHead,
    RunFilter,
    RunPage,
    RunRow,
    SessionKey,
    SessionRun,
    UnknownRunError,
)
from agentrun.store.database import Database, open_database
from agentrun.store.documents import storable
from agentrun.store.journal import JournalState, advance, merge_row, plan_append
from agentrun.store.migrations import upgrade
from agentrun.store.moments import micros
from agentrun.store.notifier import Notifier
from agentrun.store.pages import SqlPages
from agentrun.store.paging import Place
from agentrun.store.parents import SqlParents
from agentrun.store.rows import (
    event_columns,
    journal_columns,
    read_event,
    read_journal,
    read_run,
    run_columns,
)
from agentrun.store.session_queries import SqlSessionQueries
from agentrun.store.sql_messages import SqlMessages, forget_session
from agentrun.store.tables import events as event_table
from agentrun.store.tables import runs as run_table
from agentrun.store.transactions import Transactions, translated


async def open_store(url: str) -> "SqlRunStore":
    """
    Open the database at ``url``, create or upgrade its tables, and return the store.

    Raises ValueError for an invalid URL, and StoreUnavailableError, with what to do, for a database
    that cannot be used.
    """
    database = open_database(url)
    store = SqlRunStore(database)
    try:
        async with translated(database):
            async with database.migration() as connection:
                await connection.run_sync(upgrade)
            await store.follow()
            await store.fill()
    except BaseException:
        await store.close()
        raise
    return store


class SqlRunStore:
    """A RunStore in a SQL database."""

    def __init__(
        self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._now = now
        self._transactions = Transactions(database)
        self._notifier = Notifier()
        self._most_looked_at = MOST_LOOKED_AT
        self._pages = SqlPages(self._transactions)
        self._parents = SqlParents(self._transactions)
        self._session_queries = SqlSessionQueries(self._transactions)
        self._messages = SqlMessages(database, self._transactions, self._notifier, now)

    @property
    def messages(self) -> SqlMessages:
        """See ``RunStore``."""
        return self._messages

    async def follow(self) -> None:
        """Start to receive notifications of other processes' writes to the database."""
        await self._database.follow(self._notifier)

    async def fill(self) -> None:
        """Fill columns of runs that another version recorded without them."""
        await self._parents.fill()

    async def record_run(self, row: RunRow) -> None:
        """See ``RunStore``."""

        seen = replace(row, run=storable(row.run))

        async def record(connection: AsyncConnection) -> bool:
            uid = row.run.metadata.uid
            found = await _locked(connection, uid)
            stored = read_run(found) if found else None
            columns = run_columns(merge_row(stored, seen))
            if stored is not None and columns == {key: getattr(found, key) for key in columns}:
                return False
            if stored is None:
                await connection.execute(insert(run_table).values(**self._first(uid), **columns))
            else:
                await self._update(connection, uid, columns)
            await self._database.notify(connection, uid, None)
            return True

        def wake(changed: bool) -> None:
            if changed:
                self._notifier.changed(row.run.metadata.uid)

        try:
            await self._transactions.write(record, wake)
        except exc.IntegrityError:
            # Another replica inserted the run first; now there is a row to update.
            await self._transactions.write(record, wake)

    async def get_run(self, namespace: str, name: str) -> RunRow | None:
        """See ``RunStore``."""
        named = (run_table.c.namespace == namespace) & (run_table.c.name == name)
        newest = (run_table.c.created.desc(), run_table.c.first_seen.desc())
        return await self._one(select(run_table).where(named).order_by(*newest).limit(1))

    async def reused_names(self, namespace: str, names: Sequence[str]) -> set[str]:
        """See ``RunStore``."""
        name = run_table.c.name
        named = (run_table.c.namespace == namespace) & name.in_(names)
        several = select(name).where(named).group_by(name).having(func.count() > 1)
        return {found.name for found in await self._transactions.read(several)}

    async def get_run_by_uid(self, uid: str) -> RunRow | None:
        """See ``RunStore``."""
        return await self._one(select(run_table).where(run_table.c.uid == uid))

    async def list_runs(self, which: RunFilter, limit: int, cursor: str | None = None) -> RunPage:
        """See ``RunStore``."""
        return await self._pages.list_runs(which, limit, cursor, self._most_looked_at)

    async def get_runs(self, uids: Sequence[str]) -> list[RunRow]:
        """See ``RunStore``."""
        found = await self._transactions.read(select(run_table).where(run_table.c.uid.in_(uids)))
        return [read_run(stored) for stored in found]

    async def session_runs(self, uids: Sequence[str]) -> list[SessionRun]:
        """See ``RunStore``."""
        return await self._session_queries.session_runs(uids)

    async def changed_runs(
        self, namespace: str, limit: int, before: Place | None = None
    ) -> list[SessionRun]:
        """See ``RunStore``."""
        return await self._session_queries.changed_runs(namespace, limit, before)

    async def standing_runs(
        self, namespace: str, sessions: Sequence[SessionKey]
    ) -> dict[SessionKey, SessionRun]:
        """See ``RunStore``."""
        return await self._session_queries.standing_runs(namespace, sessions)

    async def count_children(self, namespace: str, uid: str) -> int:
        """See ``RunStore``."""
        return await self._parents.count_children(namespace, uid)

    async def parents_in_session(self, namespace: str, session_name: str, limit: int) -> set[str]:
        """See ``RunStore``."""
        return await self._parents.parents_in_session(namespace, session_name, limit)

    async def open_runs(self) -> list[RunRow]:
        """See ``RunStore``."""
        columns = run_table.c
        query = select(run_table).where(columns.sealed.is_(False))
        oldest_first = query.order_by(columns.created, columns.name, columns.uid)
        return [read_run(stored) for stored in await self._transactions.read(oldest_first)]

    async def append(self, uid: str, attempt: int, events: Sequence[NewEvent]) -> JournalHead:
        """See ``RunStore``."""

        async def write(connection: AsyncConnection) -> JournalState:
            found = await _known(connection, uid)
            before = read_journal(found)
            taken = await _ids(connection, uid, events, before.last_seq)
            after, new = plan_append(before, attempt, events, taken)
            if after != before:
                await self._store(connection, found, after, new)
            if new:
                await self._database.notify(connection, uid, after.last_seq)
            return after

        def wake(journal: JournalState) -> None:
            self._notifier.appended(uid, journal.last_seq)

        return (await self._transactions.write(write, wake)).head

    async def head(self, uid: str) -> JournalHead:
        """See ``RunStore``."""
        columns = run_table.c
        query = select(columns.last_seq, columns.sealed).where(columns.uid == uid)
        found = await self._transactions.read(query)
        return JournalHead(found[0].last_seq, found[0].sealed) if found else JournalHead()

    async def read(self, uid: str, after_seq: int, limit: int) -> list[Event]:
        """See ``RunStore``."""
        columns = event_table.c
        query = (
            select(event_table, run_table.c.name, run_table.c.backend)
            .join(run_table, run_table.c.uid == columns.run_uid)
            .where(columns.run_uid == uid, columns.seq > after_seq)
            .order_by(columns.seq)
            .limit(limit)
        )
        return [read_event(stored) for stored in await self._transactions.read(query)]

    async def seal(self, uid: str, event_id: str, ts: str, data: dict[str, Any]) -> JournalHead:
        """See ``RunStore``."""

        async def write(connection: AsyncConnection) -> JournalState:
            found = await _known(connection, uid)
            journal = read_journal(found)
            if journal.sealed:
                return journal
            last = NewEvent(
                seq=journal.last_seq + 1,
                event_id=event_id,
                ts=ts,
                type=EventType.STATUS_CHANGED,
                data=data,
            )
            journal = replace(advance(journal, last), sealed=True)
            await self._store(connection, found, journal, [last])
            await self._database.notify(connection, uid, None)
            return journal

        def wake(_: JournalState) -> None:
            self._notifier.changed(uid)

        return (await self._transactions.write(write, wake)).head

    async def named(self, reference: str, namespace: str | None = None) -> list[RunRow]:
        """
        Return the run of that uid, or of that ``NAME@UID``.

        If there is none, return those of that name, the newest first.
        """
        row = await self.get_run_by_uid(parse_run_id(reference)[1] or reference)
        if row is not None:
            return [row]
        query = select(run_table).where(run_table.c.name == reference)
        if namespace is not None:
            query = query.where(run_table.c.namespace == namespace)
        newest = query.order_by(run_table.c.created.desc(), run_table.c.first_seen.desc())
        return [read_run(stored) for stored in await self._transactions.read(newest)]

    async def forget(self, uid: str) -> Forgotten:
        """See ``RunStore``."""

        async def write(connection: AsyncConnection) -> Forgotten:
            found = await _known(connection, uid)
            doomed = delete(event_table).where(event_table.c.run_uid == uid)
            removed = (await connection.execute(doomed)).rowcount
            await connection.execute(delete(run_table).where(run_table.c.uid == uid))
            await self._database.notify(connection, uid, None)
            session = found.session_uid
            others = select(run_table.c.uid).where(run_table.c.session_uid == session).limit(1)
            if not session or (await connection.execute(others)).first() is not None:
                return Forgotten(events=removed, keeps_session=bool(session))
            messages, sent = await forget_session(connection, session)
            return Forgotten(events=removed, messages=messages, sent=sent)

        return await self._transactions.write(write, lambda _: self._notifier.changed(uid))

    def changes(
        self, uid: str, after_seq: int | None = None
    ) -> AbstractAsyncContextManager[Changes]:
        """See ``RunStore``."""
        return self._notifier.subscribe(uid, after_seq)

    async def close(self) -> None:
        """See ``RunStore``."""
        self._notifier.close()
        await self._transactions.close()
        await self._database.close()

    def _first(self, uid: str) -> dict[str, Any]:
        now = micros(self._now())
        return {"uid": uid, "first_seen": now, "updated": now, **journal_columns(JournalState())}

    async def _store(
        self, connection: AsyncConnection, run: Row[Any], journal: JournalState, new: list[NewEvent]
    ) -> None:
        rows = event_columns(run.uid, run.session_uid, journal.attempt, new)
        if rows:
            await connection.execute(insert(event_table), rows)
        await self._update(connection, run.uid, journal_columns(journal))

    async def _update(self, connection: AsyncConnection, uid: str, columns: dict[str, Any]) -> None:
        changed = {**columns, "updated": micros(self._now())}
        await connection.execute(update(run_table).where(run_table.c.uid == uid).values(changed))

    async def _one(self, query: Select[Any]) -> RunRow | None:
        found = await self._transactions.read(query)
        return read_run(found[0]) if found else None


async def _locked(connection: AsyncConnection, uid: str) -> Row[Any] | None:
    query = select(run_table).where(run_table.c.uid == uid).with_for_update()
    return (await connection.execute(query)).one_or_none()


async def _known(connection: AsyncConnection, uid: str) -> Row[Any]:
    found = await _locked(connection, uid)
    if found is None:
        raise UnknownRunError(f"No run with uid {uid} was ever recorded.")
    return found


async def _ids(
    connection: AsyncConnection, uid: str, events: Sequence[NewEvent], last_seq: int
) -> dict[int, str]:
    """Return the event ids that are stored at the seqs of ``events``."""
    if not events or (first := min(event.seq for event in events)) > last_seq:
        return {}
    columns = event_table.c
    found = await connection.execute(
        select(columns.seq, columns.event_id)
        .where(columns.run_uid == uid, columns.seq >= first)
        .where(columns.seq <= max(event.seq for event in events))
    )
    return {stored.seq: stored.event_id for stored in found}
