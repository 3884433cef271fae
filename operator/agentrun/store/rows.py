"""Translating between what the store promises and the columns of its tables."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row

from agentrun.api.events import Event, NewEvent
from agentrun.api.v1alpha1 import AgentRun
from agentrun.store.base import RunRow
from agentrun.store.journal import Journal, dump
from agentrun.store.paging import cwd_of, place_of, session_name

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Write a point in time as microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(stored: int | None) -> datetime | None:
    """Read a point in time."""
    return None if stored is None else _EPOCH + timedelta(microseconds=stored)


def run_columns(row: RunRow) -> dict[str, Any]:
    """Write what ``record_run`` may change."""
    run = row.run
    return {
        "namespace": run.metadata.namespace,
        "name": run.metadata.name,
        "created": place_of(run)[0],
        "phase": run.phase.value,
        "backend": run.spec.backend,
        "cwd": cwd_of(run),
        "session_name": session_name(run),
        "session_uid": row.session_uid,
        "document": json.dumps(run.to_json(), separators=(",", ":")),
        "deleted": None if row.deleted_at is None else micros(row.deleted_at),
    }


def journal_columns(journal: Journal) -> dict[str, Any]:
    """Write what an append may change."""
    return {
        "attempt": journal.attempt,
        "last_seq": journal.last_seq,
        "sealed": journal.sealed,
        "journal_status": journal.status,
        "summary": journal.summary,
    }


def read_run(stored: Row[Any]) -> RunRow:
    """Read a row of ``runs``."""
    return RunRow(
        run=AgentRun.model_validate_json(stored.document),
        session_uid=stored.session_uid,
        last_seq=stored.last_seq,
        sealed=stored.sealed,
        journal_status=stored.journal_status,
        journal_attempt=stored.attempt,
        summary=stored.summary,
        updated_at=moment(stored.updated),
        deleted_at=moment(stored.deleted),
    )


def read_journal(stored: Row[Any]) -> Journal:
    """Read the journal's part of a row of ``runs``."""
    return Journal(
        stored.last_seq, stored.sealed, stored.attempt, stored.journal_status, stored.summary
    )


def event_columns(
    uid: str, session_uid: str, attempt: int, events: Sequence[NewEvent]
) -> list[dict[str, Any]]:
    """Write events."""
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
    """Read an event, with what its run says of it."""
    return Event(
        seq=stored.seq,
        ts=stored.ts,
        run_id=stored.name,
        session_id=stored.session_uid,
        backend=stored.backend,
        type=stored.type,
        data=json.loads(stored.data),
    )
