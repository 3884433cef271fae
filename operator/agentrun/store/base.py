"""
The interfaces of the store, independent of the database.

``tests/contract`` tests every implementation against these docstrings, including the fake.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from agentrun.api.events import Event, NewEvent
from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1 import TERMINAL_PHASES, AgentRun, Phase
from agentrun.store.moments import micros
from agentrun.store.paging import Place


class StoreError(Exception):
    """Base class of the store's errors."""


class ConflictError(StoreError):
    """Another event, or other bytes, are stored there already. Carries the journal's head."""

    def __init__(self, message: str, last_seq: int = 0) -> None:
        super().__init__(message)
        self.last_seq = last_seq


class SealedError(StoreError):
    """The journal is sealed: the run has finished."""


class FencedError(StoreError):
    """A newer attempt of the run has appended already."""


class UnknownRunError(StoreError):
    """The run was never recorded, so it has no journal."""


class StoreUnavailableError(StoreError):
    """The database or its disk is temporarily unavailable; a retry may help."""


class TooLargeError(StoreError):
    """A message exceeds the maximum size. The error states both sizes."""


class MailboxFullError(StoreError):
    """A mailbox has reached its maximum size."""


class NotStorableError(StoreError, ValueError):
    """The input cannot be stored or queried; the error says why. A retry does not help."""


class TooNewError(StoreError):
    """The database was changed by a newer, incompatible version of AgentRun."""


@dataclass(frozen=True)
class RunRow:
    """The store's record of a run. It remains when the AgentRun is deleted."""

    run: AgentRun
    """The newest version seen."""
    session_uid: str = ""
    """The AgentSession's uid; empty until it is known."""
    last_seq: int = 0
    """The head of the journal. Read only: ``record_run`` ignores it."""
    sealed: bool = False
    """Whether the journal is sealed. Read only."""
    journal_status: str | None = None
    """The newest attempt's status, from its newest event that has one. Read only."""
    journal_attempt: int = 0
    """The newest attempt that has appended to the journal. Read only."""
    summary: str = ""
    """A one-line summary of the newest event. Read only."""
    updated_at: datetime | None = None
    """When the row or its journal last changed. Read only."""
    deleted_at: datetime | None = None
    """When the AgentRun was observed to be deleted from the cluster."""


@dataclass(frozen=True)
class RunFilter:
    """The filter of a list of runs; None matches all."""

    namespaces: Sequence[str] | None = None
    """None for all namespaces."""
    phases: Sequence[Phase] | None = None
    backend: str | None = None
    session_name: str | None = None


@dataclass(frozen=True)
class SessionRun:
    """A run without its document, for ordering and filtering lists of sessions."""

    uid: str
    """The run's uid."""
    session_name: str
    session_uid: str
    """Empty until the session's uid is known."""
    phase: str
    """A string, since a newer version may have other phases."""
    cwd: str | None
    updated_at: datetime
    created: int
    """In seconds since 1970."""

    @property
    def has_ended(self) -> bool:
        """Whether the run has finished."""
        return self.phase in TERMINAL_PHASES

    @property
    def place(self) -> Place:
        """The sort key in its namespace: time of the last change, session name, uid."""
        return micros(self.updated_at), self.session_name, self.uid

    @property
    def is_queued(self) -> bool:
        """Whether the run has no pod; it may wait for the session's active run."""
        return self.phase == Phase.QUEUED

    @property
    def rank(self) -> tuple[bool, bool, datetime, int, str]:
        """
        The run with the highest rank represents its session.

        It is the active one, however many wait behind it: of those, each changes later.
        """
        is_active = not (self.has_ended or self.is_queued)
        return is_active, not self.has_ended, self.updated_at, self.created, self.uid


SessionKey = tuple[str, str]
"""A session's name and its uid."""


@dataclass(frozen=True)
class RunPage:
    """A page of runs, newest creation first, and the cursor of the next page."""

    rows: list[RunRow] = field(default_factory=list)
    cursor: str | None = None
    looked_at: int = 0
    """The number of runs that were scanned for this page, at most."""


@dataclass(frozen=True)
class JournalHead:
    """The head of a journal."""

    last_seq: int = 0
    sealed: bool = False


@dataclass(frozen=True)
class Forgotten:
    """What was removed of a run."""

    events: int = 0
    messages: int = 0
    """The number of messages in the mailbox."""
    sent: int = 0
    """The number of messages in other mailboxes whose text was removed."""
    keeps_session: bool = False
    """Whether the session's messages remain, because other runs of it are known."""


FORGOTTEN = "[This message was removed.]"
"""Replaces the text of a message whose sender is forgotten."""

MOST_LOOKED_AT = 20_000
"""The maximum number of runs that are scanned for a page."""
MAX_MESSAGE_BYTES = 256 * 1024
"""The maximum size of a message with its metadata, as JSON."""
MAX_MAILBOX_BYTES = 64 * 1024 * 1024
"""The maximum total size of the messages in one mailbox."""


@dataclass(frozen=True)
class NewMessage:
    """A message from one agent to another, as it is sent."""

    message_id: str
    """Unique: sending a message again has no effect."""
    to_session_uid: str
    """The recipient's AgentSession."""
    to_agent_name: str
    body: AgentMessage
    from_session_uid: str | None = None
    """The sender's AgentSession; None for a person."""
    from_agent_name: str | None = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True)
class StoredMessage:
    """A message in its recipient's mailbox."""

    sent: NewMessage
    seq: int
    """Its number in the mailbox: from 1, without gaps."""
    created_at: datetime


@dataclass(frozen=True)
class MailboxState:
    """The state of a mailbox."""

    last_seq: int = 0
    delivered_seq: int = 0
    """The agent was given the messages up to this seq unasked."""


class Changes(Protocol):
    """A subscription to the changes of a run or of a mailbox."""

    async def next(self, seconds: float) -> None:
        """
        Wait for a change since the subscription began or the last call, or for ``seconds``.

        It may return early, and returns immediately once the store is closed.
        """


class MessageStore(Protocol):
    """
    The messages of agents.

    A mailbox belongs to an AgentSession's uid, is created implicitly, and outlives the session's
    runs. Every method may raise ``StoreUnavailableError``.
    """

    async def send(self, message: NewMessage) -> StoredMessage:
        """
        Store ``message`` in its mailbox with the next seq, and wake the waiting readers.

        A message that is stored already is returned unchanged. Raises TooLargeError and
        MailboxFullError.
        """

    async def fetch(self, session_uid: str, after_seq: int, limit: int) -> list[StoredMessage]:
        """
        Return up to ``limit`` messages after ``after_seq``, in order.

        They never change, except by ``RunStore.forget``.
        """

    async def mailbox(self, session_uid: str) -> MailboxState:
        """Return the state of a mailbox; all 0 if it has no messages."""

    async def deliver(self, session_uid: str, seq: int) -> None:
        """Record that the agent was given everything up to ``seq``. It never decreases."""

    def changes(self, session_uid: str, after_seq: int) -> AbstractAsyncContextManager[Changes]:
        """Subscribe for the block to messages after ``after_seq``, as ``RunStore.changes`` does."""


class RunStore(Protocol):
    """
    Runs and their journals.

    Every method may raise ``StoreUnavailableError``, and ``NotStorableError`` for what no database
    accepts.

    A stored row, event or message that cannot be read does not prevent others from being read: it
    is returned with its name, or its seq, and the reason.
    """

    @property
    def messages(self) -> MessageStore:
        """The messages of agents, in the same database."""

    async def record_run(self, row: RunRow) -> None:
        """
        Insert or update the row of ``row.run.metadata.uid``.

        A recorded terminal phase is never replaced by another phase, and a recorded ``deleted_at``
        or ``session_uid`` never by an empty value. Content that could not be read back is left out,
        which the annotation of ``agentrun.api.quarantine`` records.
        """

    async def get_run(self, namespace: str, name: str) -> RunRow | None:
        """
        Return the run of that name; the newest, if the name was used again; None if there is none.
        """

    async def reused_names(self, namespace: str, names: Sequence[str]) -> set[str]:
        """Return those of ``names`` that several recorded runs of the namespace have."""

    async def get_run_by_uid(self, uid: str) -> RunRow | None:
        """Return the run of that uid; None if there is none."""

    async def get_runs(self, uids: Sequence[str]) -> list[RunRow]:
        """Return the existing runs of those uids, in no order."""

    async def list_runs(self, which: RunFilter, limit: int, cursor: str | None = None) -> RunPage:
        """
        Return up to ``limit`` runs, newest first. Raises ValueError for an invalid cursor.

        It scans ``MOST_LOOKED_AT`` runs: those of the session, if ``which`` names it and one
        namespace; those of the namespace, if it names one; else all. If there are more, the page
        may be short, even empty, and has a cursor to continue with. A page without a cursor is the
        last. Following the cursors returns every run once.
        """

    async def session_runs(self, uids: Sequence[str]) -> list[SessionRun]:
        """Return the existing runs of those uids without their documents, in no order."""

    async def changed_runs(
        self, namespace: str, limit: int, before: Place | None = None
    ) -> list[SessionRun]:
        """
        Return up to ``limit`` runs of ``namespace``, the latest change first.

        All have a place less than ``before``. The cost depends on ``limit`` only, not on the number
        of runs.
        """

    async def standing_runs(
        self, namespace: str, sessions: Sequence[SessionKey]
    ) -> dict[SessionKey, SessionRun]:
        """
        Return the run that represents each of ``sessions``.

        It is the active one: the latest changed of those that neither wait nor have ended, else of
        those that have not ended, else of all. A session without runs is left out.

        A run belongs to the session of its session's name and uid; while it does not know the uid,
        to the requested one of that name. The cost depends on the number of sessions only, not on
        the number of their runs.
        """

    async def count_children(self, namespace: str, uid: str) -> int:
        """Count the recorded runs of ``namespace`` that the agent of run ``uid`` created."""

    async def parents_in_session(self, namespace: str, session_name: str, limit: int) -> set[str]:
        """
        Return the uids of the parents of a session's runs: up to ``limit`` of them.

        The empty uid stands for runs without a parent. The set is empty if there are no runs.
        """

    async def open_runs(self) -> list[RunRow]:
        """Return the runs whose journal is not sealed, oldest first."""

    async def append(self, uid: str, attempt: int, events: Sequence[NewEvent]) -> JournalHead:
        """
        Append ``events`` in one transaction, and wake the readers.

        Stored events (same seq, same event id) are skipped. Raises ConflictError for another event
        at a stored seq, and for a gap; SealedError; FencedError if a later attempt has appended;
        UnknownRunError. Nothing is stored if anything is refused.
        """

    async def head(self, uid: str) -> JournalHead:
        """Return the head of the journal; 0 for a run without events."""

    async def read(self, uid: str, after_seq: int, limit: int) -> list[Event]:
        """Return up to ``limit`` events after ``after_seq``, in order. They never change."""

    async def seal(self, uid: str, event_id: str, ts: str, data: dict[str, Any]) -> JournalHead:
        """
        Seal the journal with a final ``status_changed`` event, in one transaction.

        A sealed journal is not changed. Raises UnknownRunError.
        """

    async def forget(self, uid: str) -> Forgotten:
        """
        Remove a run's row and journal permanently, and the messages of its session.

        These are the session's mailbox, and the text of messages that the session has sent, if no
        other run of that session is known. Raises UnknownRunError.
        """

    def changes(
        self, uid: str, after_seq: int | None = None
    ) -> AbstractAsyncContextManager[Changes]:
        """
        Subscribe for the block to a run's row and seal, and its events after ``after_seq``, if any.

        Code that reads in the block and then waits misses no change.
        """

    async def close(self) -> None:
        """Wake all readers and close the database."""


class BlobStore(Protocol):
    """Bytes under a key: artifacts, patches, snapshots."""

    async def put(self, key: str, body: bytes, media_type: str) -> str:
        """
        Store ``body`` and return its SHA-256 in hex. Storing the same bytes again has no effect.

        Raises ConflictError for other bytes under the key, and for a key that is a prefix folder of
        another key, or below one.
        """

    async def size(self, key: str) -> int | None:
        """Return the size in bytes; None if the key does not exist."""

    def read(self, key: str, offset: int = 0, limit: int | None = None) -> AsyncIterator[bytes]:
        """
        Stream up to ``limit`` bytes from ``offset`` on. Raises KeyError if the key does not exist.
        """

    async def delete_prefix(self, prefix: str) -> None:
        """Delete everything whose key begins with ``prefix``."""
