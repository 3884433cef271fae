"""
The effects of an append, or of a new version of a run, on what is stored.

Pure: the SQL store and the fake both apply these results, so that they differ only in where data is
stored.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentrun.api.events import EventType, NewEvent
from agentrun.api.status import TERMINAL_STATUSES, Status
from agentrun.api.v1alpha1 import AgentRun
from agentrun.store.base import ConflictError, FencedError, JournalHead, RunRow, SealedError
from agentrun.store.documents import is_stub, write_data

_STATUS_OF_TYPE: dict[str, Status] = {
    EventType.RUN_STARTED: Status.RUNNING,
    EventType.RUN_COMPLETED: Status.COMPLETED,
    EventType.RUN_FAILED: Status.FAILED,
    EventType.INPUT_REQUIRED: Status.INPUT_REQUIRED,
    EventType.AUTH_REQUIRED: Status.AUTH_REQUIRED,
    EventType.REJECTED: Status.REJECTED,
}
_PHRASES: dict[str, str] = {
    Status.CANCELLED: "Run cancelled",
    Status.INPUT_REQUIRED: "Waiting for additional input",
    Status.AUTH_REQUIRED: "Authentication required",
}
_MESSAGE_CHARS = 120
_LINE_CHARS = 1024
# PostgreSQL's text cannot contain NUL, and a terminal must not interpret the others.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")


@dataclass(frozen=True)
class JournalState:
    """The state of a journal without its events."""

    last_seq: int = 0
    sealed: bool = False
    attempt: int = 0
    """The newest attempt that has appended."""
    status: str | None = None
    """The run's status according to the newest attempt's events so far."""
    summary: str = ""

    @property
    def head(self) -> JournalHead:
        """The journal's head."""
        return JournalHead(self.last_seq, self.sealed)


def plan_append(
    journal: JournalState, attempt: int, events: Sequence[NewEvent], taken: Mapping[int, str]
) -> tuple[JournalState, list[NewEvent]]:
    """
    Return the journal with ``events`` appended, and which of them are new.

    ``taken`` maps the stored seqs among those of ``events`` to their event ids. Raises SealedError,
    FencedError and ConflictError as ``RunStore.append`` does.
    """
    if journal.sealed:
        raise SealedError(
            "The run has finished and its journal is sealed: no events can be appended."
        )
    if attempt < journal.attempt:
        raise FencedError(f"Attempt {journal.attempt} of the run has begun; this is {attempt}.")
    if attempt > journal.attempt:
        # The status of an earlier attempt's pod does not apply to this attempt.
        journal = replace(journal, attempt=attempt, status=None)
    ids, new = dict(taken), list[NewEvent]()
    for event in events:
        at = journal.last_seq
        if event.seq <= at:
            if ids[event.seq] != event.event_id:
                raise ConflictError(f"Another event is stored at seq {event.seq}.", at - len(new))
            continue
        if event.seq != at + 1:
            raise ConflictError(
                f"Seq {event.seq} leaves a gap: the next is {at + 1}.", at - len(new)
            )
        ids[event.seq] = event.event_id
        new.append(event)
        journal = advance(journal, event)
    return journal, new


def advance(journal: JournalState, event: NewEvent) -> JournalState:
    """Return the journal with ``event`` as its newest."""
    status = event_status(event.type, event.data)
    # A final status_changed repeats the status of the event before it, which has a reason.
    repeats = (
        event.type is EventType.STATUS_CHANGED
        and status in TERMINAL_STATUSES
        and status == journal.status
    )
    return replace(
        journal,
        last_seq=event.seq,
        status=status or journal.status,
        summary=journal.summary if repeats else summary_of(event.type, event.data),
    )


def event_status(kind: str, data: Mapping[str, Any]) -> Status | None:
    """Return the status that an event sets; None for most events."""
    if kind is EventType.STATUS_CHANGED:
        return Status.parse(data.get("status"))
    return _STATUS_OF_TYPE.get(kind)


def summary_of(kind: str, data: Mapping[str, Any]) -> str:
    """Return a one-line summary of an event."""
    return _line(_told(kind, data), _LINE_CHARS)


def _told(kind: str, data: Mapping[str, Any]) -> str:
    match kind:
        case EventType.AGENT_MESSAGE | EventType.MESSAGE_ADDED:
            return _line(_text(data, "text"), _MESSAGE_CHARS)
        case EventType.STATUS_CHANGED:
            status = _text(data, "status")
            return _PHRASES.get(status, f"Status: {status}")
        case EventType.INPUT_REQUIRED | EventType.AUTH_REQUIRED:
            return _text(data, "text") or _PHRASES[kind]
        case EventType.FILE_CHANGED:
            changes = data.get("changes")
            return f"Updated {len(changes) if isinstance(changes, list) else 0} file(s)"
        case _:
            return _named(kind, data)


def _named(kind: str, data: Mapping[str, Any]) -> str:
    message = _text(data, "message")
    match kind:
        case EventType.COMMAND_STARTED | EventType.COMMAND_UPDATED | EventType.COMMAND_FINISHED:
            return f"{kind}: {_text(data, 'command')}"
        case EventType.TOOL_STARTED | EventType.TOOL_FINISHED:
            return f"{kind}: {_text(data, 'tool')}"
        case EventType.ARTIFACT_ADDED:
            name = _text(data, "name") or _text(data.get("artifact") or {}, "name")
            return f"Artifact: {name}" if name else "Added artifact"
        case EventType.REJECTED:
            return f"Rejected: {message}" if message else "Run rejected"
        case EventType.RUN_FAILED:
            return f"Run failed: {message}" if message else "Run failed"
        case _:
            return _FIXED.get(kind, f"Event: {kind}")


_FIXED: dict[str, str] = {
    EventType.RUN_STARTED: "Run started",
    EventType.RUN_COMPLETED: "Run completed",
    EventType.TODO_UPDATED: "Updated task checklist",
    EventType.REASONING: "Updated reasoning",
}


def _text(data: Any, name: str) -> str:
    value = data.get(name) if isinstance(data, Mapping) else None
    return value if isinstance(value, str) else ""


def _line(text: str, limit: int) -> str:
    line = " ".join(_UNPRINTABLE.sub(" ", text).split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def dump(data: Mapping[str, Any]) -> str:
    """Encode an event's data as JSON. Characters that a database's text cannot hold are escaped."""
    return write_data(data)


def merge_row(stored: RunRow | None, seen: RunRow) -> RunRow:
    """Return the row to store when ``seen`` is recorded."""
    if stored is None:
        return seen
    return replace(
        stored,
        run=seen.run if _replaces(stored.run, seen.run) else stored.run,
        session_uid=seen.session_uid or stored.session_uid,
        deleted_at=seen.deleted_at or stored.deleted_at,
    )


def _replaces(stored: AgentRun, seen: AgentRun) -> bool:
    """
    Whether ``seen`` is as new as ``stored``.

    A watch that lags behind a live read must not revert a newer version. The API server guarantees
    that resource versions of one kind compare as integers.
    """
    if stored.is_finished != seen.is_finished:
        return seen.is_finished
    if stored.is_finished and stored.phase is not seen.phase:
        return False
    if is_stub(stored):
        return True
    old, new = stored.metadata.version, seen.metadata.version
    if old and new and new != old:
        return new > old
    # A deleted run ends without a new version; if several replicas record that, each with its own
    # time, the first is retained.
    return not stored.is_finished
