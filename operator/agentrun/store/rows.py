"""Conversion between the store's types and the columns of its tables."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from agentrun.api.events import Event, NewEvent
from agentrun.store import documents
from agentrun.store.base import RunRow, SessionRun
from agentrun.store.documents import RunName, plain, read_data, write_run
from agentrun.store.journal import JournalState, dump
from agentrun.store.moments import EPOCH, micros, moment
from agentrun.store.paging import place_of

_REASON_CHARS = 500


def run_columns(row: RunRow) -> dict[str, Any]:
    """Return the columns that ``record_run`` may change."""
    run = row.run
    return {
        "namespace": run.metadata.namespace,
        "name": run.metadata.name,
        "created": place_of(run)[0],
        "phase": run.phase.value,
        "backend": run.spec.backend,
        "cwd": None if run.cwd is None else plain(run.cwd),
        "session_name": run.session_name,
        "session_uid": row.session_uid,
        "document": write_run(run),
        "deleted": None if row.deleted_at is None else micros(row.deleted_at),
        "parent_uid": plain(run.parent_uid),
    }


def journal_columns(journal: JournalState) -> dict[str, Any]:
    """Return the columns that an append may change."""
    return {
        "attempt": journal.attempt,
        "last_seq": journal.last_seq,
        "sealed": journal.sealed,
        "journal_status": journal.status and str(journal.status),
        "summary": journal.summary,
    }


def read_run(stored: Row[Any]) -> RunRow:
    """Convert a row of ``runs``. It never fails: an unreadable document is replaced by a name."""
    name = RunName(
        uid=stored.uid,
        namespace=stored.namespace,
        name=stored.name,
        created=stored.created,
        phase=stored.phase,
        backend=stored.backend,
        cwd=stored.cwd,
        session_name=stored.session_name,
    )
    return RunRow(
        run=documents.read_run(stored.document, name),
        session_uid=stored.session_uid,
        last_seq=stored.last_seq,
        sealed=stored.sealed,
        journal_status=stored.journal_status,
        journal_attempt=stored.attempt,
        summary=stored.summary,
        updated_at=moment(stored.updated),
        deleted_at=moment(stored.deleted),
    )


def read_session_run(stored: Row[Any]) -> SessionRun:
    """Convert a row without its document."""
    return SessionRun(
        uid=stored.uid,
        session_name=stored.session_name,
        session_uid=stored.session_uid,
        phase=stored.phase,
        cwd=stored.cwd,
        updated_at=moment(stored.updated) or EPOCH,
        created=stored.created,
    )


def read_journal(stored: Row[Any]) -> JournalState:
    """Convert the journal's columns of a row of ``runs``."""
    return JournalState(
        stored.last_seq, stored.sealed, stored.attempt, stored.journal_status, stored.summary
    )


def event_columns(
    uid: str, session_uid: str, attempt: int, events: Sequence[NewEvent]
) -> list[dict[str, Any]]:
    """Return the rows of ``events`` for new events."""
    return [
        {
            "run_uid": uid,
            "seq": event.seq,
            "event_id": event.event_id,
            "attempt": attempt,
            "ts": event.ts,
            "session_uid": session_uid,
            "type": str(event.type),
            "data": dump(event.data),
        }
        for event in events
    ]


def read_event(stored: Row[Any]) -> Event:
    """
    Convert a row of ``events``, joined with its run's name and backend.

    It never fails: an event that cannot be read is replaced by one with the reason, so that readers
    of the journal get beyond it.
    """
    whole = {
        "seq": stored.seq,
        "ts": stored.ts,
        "run_id": stored.name,
        "session_id": stored.session_uid,
        "backend": stored.backend,
    }
    try:
        return Event.model_validate({**whole, "type": stored.type, "data": read_data(stored.data)})
    except ValueError as error:
        reason = f"This event cannot be read: {error}"[:_REASON_CHARS]
        return Event.model_validate({**whole, "type": "unreadable", "data": {"reason": reason}})
