"""In-memory stores for tests. They satisfy the whole interface except durability."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

from agentrun.api.events import Event, EventType, NewEvent
from agentrun.store.base import (
    MOST_LOOKED_AT,
    Changes,
    ConflictError,
    Forgotten,
    JournalHead,
    RunFilter,
    RunPage,
    RunRow,
    SessionKey,
    SessionRun,
    StoreUnavailableError,
    UnknownRunError,
)
from agentrun.store.documents import storable
from agentrun.store.journal import JournalState, advance, dump, merge_row, plan_append
from agentrun.store.moments import EPOCH
from agentrun.store.notifier import Notifier
from agentrun.store.paging import (
    Place,
    decode_cursor,
    encode_cursor,
    place_of,
)
from mcp_server.watches.ordered import Ordered
from tests.memory_messages import MemoryMessages


@dataclass
class _Kept:
    row: RunRow
    order: int
    journal: JournalState = field(default_factory=JournalState)
    ids: dict[int, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def seen(self) -> RunRow:
        journal = self.journal
        return replace(
            self.row,
            run=self.row.run.model_copy(deep=True),
            last_seq=journal.last_seq,
            sealed=journal.sealed,
            journal_status=journal.status,
            journal_attempt=journal.attempt,
            summary=journal.summary,
        )


class MemoryRunStore:
    """A RunStore in memory."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._most_looked_at = MOST_LOOKED_AT
        self._runs: dict[str, _Kept] = {}
        self._notifier = Notifier()
        self._order = count()
        self._lights: dict[str, SessionRun] = {}
        self._changed: dict[str, Ordered[str, Place]] = {}
        """By namespace, the runs by when they changed."""
        self._ranked: dict[tuple[str, str, str], Ordered[str, tuple[Any, ...]]] = {}
        """By namespace and session, its runs by rank."""
        self._closed = False
        self.failure: Exception | None = None
        """If set, every call raises StoreUnavailableError with this cause."""
        self._messages = MemoryMessages(self._notifier, lambda: self._now(), self._check)

    @property
    def messages(self) -> MemoryMessages:
        """See ``RunStore``."""
        return self._messages

    async def record_run(self, row: RunRow) -> None:
        """See ``RunStore``."""
        self._check()
        uid = row.run.metadata.uid
        row = replace(row, run=storable(row.run))
        kept = self._runs.get(uid)
        merged = merge_row(kept.row if kept else None, row)
        merged = replace(merged, run=merged.run.model_copy(deep=True))
        if kept is None:
            kept = self._runs[uid] = _Kept(merged, next(self._order))
        elif merged == kept.row:
            return
        self._change(kept, merged)
        self._notifier.changed(uid)

    async def get_run(self, namespace: str, name: str) -> RunRow | None:
        """See ``RunStore``."""
        self._check()
        named = [
            kept
            for kept in self._runs.values()
            if (kept.row.run.metadata.namespace, kept.row.run.metadata.name) == (namespace, name)
        ]
        newest = max(named, key=lambda kept: (place_of(kept.row.run)[0], kept.order), default=None)
        return newest.seen() if newest else None

    async def reused_names(self, namespace: str, names: Sequence[str]) -> set[str]:
        """See ``RunStore``."""
        self._check()
        metas = [kept.row.run.metadata for kept in self._runs.values()]
        found = Counter(meta.name for meta in metas if meta.namespace == namespace)
        return {name for name in names if found[name] > 1}

    async def get_run_by_uid(self, uid: str) -> RunRow | None:
        """See ``RunStore``."""
        self._check()
        kept = self._runs.get(uid)
        return kept.seen() if kept else None

    async def list_runs(self, which: RunFilter, limit: int, cursor: str | None = None) -> RunPage:
        """See ``RunStore``."""
        self._check()
        before = decode_cursor(cursor) if cursor is not None else None
        among = RunFilter()
        if which.namespaces is not None and len(which.namespaces) == 1:
            among = RunFilter(namespaces=which.namespaces, session_name=which.session_name)
        runs = {place_of(kept.row.run): kept for kept in self._runs.values()}
        places = sorted(runs, reverse=True)
        places = [one for one in places if _matches(among, runs[one].row)]
        below = [one for one in places if before is None or one < before]
        rows = list[RunRow]()
        for looked_at, place in enumerate(below[: self._most_looked_at], 1):
            is_wanted = _matches(which, runs[place].row)
            if is_wanted and len(rows) == limit:
                return RunPage(rows, encode_cursor(place_of(rows[-1].run)), looked_at)
            if is_wanted:
                rows.append(runs[place].seen())
            if looked_at == self._most_looked_at:
                return RunPage(rows, encode_cursor(place), looked_at)
        return RunPage(rows, None, len(below))

    async def get_runs(self, uids: Sequence[str]) -> list[RunRow]:
        """See ``RunStore``."""
        self._check()
        return [self._runs[uid].seen() for uid in set(uids) if uid in self._runs]

    async def session_runs(self, uids: Sequence[str]) -> list[SessionRun]:
        """See ``RunStore``."""
        self._check()
        return [self._lights[uid] for uid in set(uids) if uid in self._lights]

    async def changed_runs(
        self, namespace: str, limit: int, before: Place | None = None
    ) -> list[SessionRun]:
        """See ``RunStore``."""
        self._check()
        uids = self._changed[namespace].last(limit, before) if namespace in self._changed else []
        return [self._lights[uid] for uid in uids]

    async def standing_runs(
        self, namespace: str, sessions: Sequence[SessionKey]
    ) -> dict[SessionKey, SessionRun]:
        """See ``RunStore``."""
        self._check()
        standing = {}
        for name, uid in sessions:
            keys = [(namespace, name, of) for of in {uid, ""}]
            found = [
                run for key in keys if key in self._ranked for run in self._ranked[key].last(1)
            ]
            if found:
                runs = [self._lights[run] for run in found]
                standing[name, uid] = max(runs, key=lambda run: run.rank)
        return standing

    async def count_children(self, namespace: str, uid: str) -> int:
        """See ``RunStore``."""
        self._check()
        runs = [kept.row.run for kept in self._runs.values()] if uid else []
        return sum((run.metadata.namespace, run.parent_uid) == (namespace, uid) for run in runs)

    async def parents_in_session(self, namespace: str, session_name: str, limit: int) -> set[str]:
        """See ``RunStore``."""
        self._check()
        which = RunFilter(namespaces=[namespace], session_name=session_name)
        rows = [kept.row for kept in self._runs.values()]
        found = {row.run.parent_uid for row in rows if _matches(which, row)}
        return set(sorted(found)[:limit])

    async def open_runs(self) -> list[RunRow]:
        """See ``RunStore``."""
        self._check()
        rows = [kept.seen() for kept in self._runs.values() if not kept.journal.sealed]
        return sorted(rows, key=lambda row: place_of(row.run))

    async def append(self, uid: str, attempt: int, events: Sequence[NewEvent]) -> JournalHead:
        """See ``RunStore``."""
        self._check()
        kept = self._kept(uid)
        journal, new = plan_append(kept.journal, attempt, events, kept.ids)
        self._keep(kept, journal, new)
        return journal.head

    async def head(self, uid: str) -> JournalHead:
        """See ``RunStore``."""
        self._check()
        kept = self._runs.get(uid)
        return kept.journal.head if kept else JournalHead()

    async def read(self, uid: str, after_seq: int, limit: int) -> list[Event]:
        """See ``RunStore``."""
        self._check()
        kept = self._runs.get(uid)
        events = kept.events[after_seq : after_seq + limit] if kept else []
        return [event.model_copy(deep=True) for event in events]

    async def seal(self, uid: str, event_id: str, ts: str, data: dict[str, Any]) -> JournalHead:
        """See ``RunStore``."""
        self._check()
        kept = self._kept(uid)
        if not kept.journal.sealed:
            last = NewEvent(
                seq=kept.journal.last_seq + 1,
                event_id=event_id,
                ts=ts,
                type=EventType.STATUS_CHANGED,
                data=data,
            )
            self._keep(kept, replace(advance(kept.journal, last), sealed=True), [last])
            self._notifier.changed(uid)
        return kept.journal.head

    async def forget(self, uid: str) -> Forgotten:
        """See ``RunStore``."""
        self._check()
        gone = self._kept(uid)
        del self._runs[uid]
        self._displace(gone.row.run.metadata.namespace, uid)
        self._notifier.changed(uid)
        session = gone.row.session_uid
        others = any(kept.row.session_uid == session for kept in self._runs.values())
        if not session or others:
            return Forgotten(events=len(gone.events), keeps_session=bool(session))
        messages, sent = self._messages.forget(session)
        return Forgotten(events=len(gone.events), messages=messages, sent=sent)

    def changes(
        self, uid: str, after_seq: int | None = None
    ) -> AbstractAsyncContextManager[Changes]:
        """See ``RunStore``."""
        return self._notifier.subscribe(uid, after_seq)

    async def close(self) -> None:
        """See ``RunStore``."""
        self._closed = True
        self._notifier.close()

    def _check(self) -> None:
        if self._closed:
            raise StoreUnavailableError("The store is closed.")
        if self.failure is not None:
            raise StoreUnavailableError(f"The database is away: {self.failure}") from self.failure

    def _kept(self, uid: str) -> _Kept:
        if uid not in self._runs:
            raise UnknownRunError(f"No run with uid {uid} was ever recorded.")
        return self._runs[uid]

    def _change(self, kept: _Kept, row: RunRow) -> None:
        kept.row = replace(row, updated_at=self._now())
        self._place(row.run.metadata.namespace, _session_run(kept.row))

    def _place(self, namespace: str, run: SessionRun) -> None:
        self._displace(namespace, run.uid)
        self._lights[run.uid] = run
        self._changed.setdefault(namespace, Ordered()).put(run.uid, run.place)
        session = (namespace, run.session_name, run.session_uid)
        self._ranked.setdefault(session, Ordered()).put(run.uid, run.rank)

    def _displace(self, namespace: str, uid: str) -> None:
        run = self._lights.pop(uid, None)
        if run is not None:
            self._changed[namespace].drop(uid)
            self._ranked[namespace, run.session_name, run.session_uid].drop(uid)

    def _keep(self, kept: _Kept, journal: JournalState, new: list[NewEvent]) -> None:
        run = kept.row.run
        for event in new:
            dump(event.data)  # Data that is not JSON is rejected before anything is stored.
        kept.events += [
            Event(
                seq=event.seq,
                ts=event.ts,
                run_id=run.metadata.name,
                session_id=kept.row.session_uid,
                backend=run.spec.backend,
                type=event.type,
                data=event.model_copy(deep=True).data,
            )
            for event in new
        ]
        kept.ids |= {event.seq: event.event_id for event in new}
        kept.journal = journal
        if new:
            self._change(kept, kept.row)
            self._notifier.appended(run.metadata.uid, journal.last_seq)


def _session_run(row: RunRow) -> SessionRun:
    return SessionRun(
        uid=row.run.metadata.uid,
        session_name=row.run.session_name,
        session_uid=row.session_uid,
        phase=row.run.phase.value,
        cwd=row.run.cwd,
        updated_at=row.updated_at or EPOCH,
        created=place_of(row.run)[0],
    )


def _matches(which: RunFilter, row: RunRow) -> bool:
    run = row.run
    return all(
        (
            which.namespaces is None or run.metadata.namespace in which.namespaces,
            which.phases is None or run.phase in which.phases,
            which.backend is None or run.spec.backend == which.backend,
            which.session_name is None or run.session_name == which.session_name,
        )
    )


class MemoryBlobStore:
    """A BlobStore in memory."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self.failure: Exception | None = None
        """If set, every call raises StoreUnavailableError with this cause."""

    async def put(self, key: str, body: bytes, media_type: str) -> str:
        """See ``BlobStore``."""
        self._check()
        if any(other.startswith(f"{key}/") or key.startswith(f"{other}/") for other in self._blobs):
            raise ConflictError(f"{key} would be both a folder and a blob.")
        if self._blobs.setdefault(key, bytes(body)) != body:
            raise ConflictError(f"Other bytes are stored as {key}.")
        return hashlib.sha256(body).hexdigest()

    async def size(self, key: str) -> int | None:
        """See ``BlobStore``."""
        self._check()
        return len(self._blobs[key]) if key in self._blobs else None

    async def read(
        self, key: str, offset: int = 0, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        """See ``BlobStore``."""
        self._check()
        piece = self._blobs[key][offset:]
        if piece and limit != 0:
            yield piece[:limit]

    async def delete_prefix(self, prefix: str) -> None:
        """See ``BlobStore``."""
        self._check()
        self._blobs = {k: v for k, v in self._blobs.items() if not k.startswith(prefix)}

    def _check(self) -> None:
        if self.failure is not None:
            raise StoreUnavailableError(
                f"The blobs cannot be reached: {self.failure}"
            ) from self.failure
