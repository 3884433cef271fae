"""
What the store promises, whichever database is behind it.

``tests/contract`` holds every implementation to these docstrings, the fake as well.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from agentrun.api.events import Event, NewEvent
from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1 import TERMINAL_PHASES, AgentRun, Phase
from agentrun.store.moments import micros
from agentrun.store.paging import Place


class StoreError(Exception):
    """Something the store will not, or cannot, do."""


class ConflictError(StoreError):
    """Another event, or other bytes, stand where these should go. Carries the journal's head."""

    def __init__(self, message: str, last_seq: int = 0) -> None:
        super().__init__(message)
        self.last_seq = last_seq


class SealedError(StoreError):
    """The journal is sealed: the run is over."""


class FencedError(StoreError):
    """A newer attempt of the run has written already."""


class UnknownRunError(StoreError):
    """The run was never recorded, so it has no journal to write to."""


class StoreUnavailableError(StoreError):
    """The database or its disk cannot be written or read just now; trying again may help."""


class TooLargeError(StoreError):
    """A message is larger than a message may be. It says how large both are."""


class MailboxFullError(StoreError):
    """A mailbox holds as much as it may."""


class NotStorableError(StoreError, ValueError):
    """What was given cannot be kept, or asked for: it says why. Trying again does not help."""


class TooNewError(StoreError):
    """A version of AgentRun that this one cannot follow has changed the database."""


@dataclass(frozen=True)
class RunRow:
    """What the store knows of a run. It stays when the AgentRun is gone."""

    run: AgentRun
    """The newest version seen."""
    session_uid: str = ""
    """The AgentSession's uid, once known."""
    last_seq: int = 0
    """The head of its journal. Read only: ``record_run`` ignores it."""
    sealed: bool = False
    """Whether the journal is closed. Read only."""
    journal_status: str | None = None
    """The status of the newest event that names one, of the newest attempt. Read only."""
    journal_attempt: int = 0
    """The newest attempt that has written to the journal. Read only."""
    summary: str = ""
    """What the newest event says, in a line. Read only."""
    updated_at: datetime | None = None
    """When the row or its journal last changed. Read only."""
    deleted_at: datetime | None = None
    """When the AgentRun was seen to be gone from the cluster."""


@dataclass(frozen=True)
class RunFilter:
    """Which runs to list."""

    namespaces: Sequence[str] | None = None
    """None for all."""
    phases: Sequence[Phase] | None = None
    backend: str | None = None
    cwd: str | None = None
    session_name: str | None = None


@dataclass(frozen=True)
class SessionRun:
    """A run without its document: what lists of sessions are ordered and chosen by."""

    uid: str
    """The run's."""
    session_name: str
    session_uid: str
    """Empty until the session's uid is known."""
    phase: str
    """A version that is newer than this one may have other phases."""
    cwd: str | None
    updated_at: datetime
    created: int
    """Seconds since 1970."""

    @property
    def has_ended(self) -> bool:
        """Whether the run is over."""
        return self.phase in TERMINAL_PHASES

    @property
    def place(self) -> Place:
        """Where it stands among the runs of its namespace: when it changed, its session, itself."""
        return micros(self.updated_at), self.session_name, self.uid

    @property
    def rank(self) -> tuple[bool, datetime, int, str]:
        """Of the runs of a session, the one of the highest rank stands for it."""
        return not self.has_ended, self.updated_at, self.created, self.uid


SessionKey = tuple[str, str]
"""A session's name and its uid."""


@dataclass(frozen=True)
class RunPage:
    """A page of runs, newest creation first, and the cursor of the next page."""

    rows: list[RunRow] = field(default_factory=list)
    cursor: str | None = None
    looked_at: int = 0
    """How many runs were passed to find these, at most."""


@dataclass(frozen=True)
class JournalHead:
    """Where a journal ends."""

    last_seq: int = 0
    sealed: bool = False


@dataclass(frozen=True)
class Forgotten:
    """What was removed of a run."""

    events: int = 0
    messages: int = 0
    """How many were in the mailbox."""
    sent: int = 0
    """How many messages in others' mailboxes have lost their words."""
    keeps_session: bool = False
    """Whether the session's messages stay, because other runs of it are known."""


FORGOTTEN = "[This message was removed.]"
"""What stands in the place of a message whose sender is forgotten."""

MOST_LOOKED_AT = 20_000
"""How many runs a page is sought among."""
MAX_MESSAGE_BYTES = 256 * 1024
"""The largest message, with its metadata, as JSON."""
MAX_MAILBOX_BYTES = 64 * 1024 * 1024
"""The most that all messages of one mailbox take."""


@dataclass(frozen=True)
class NewMessage:
    """A message from one agent to another, as it is sent."""

    message_id: str
    """Unique: sending a message twice is harmless."""
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
class Mailbox:
    """What is known of a mailbox without reading it."""

    last_seq: int = 0
    delivered_seq: int = 0
    """Up to here the messages were given to the agent unasked."""


class MessageStore(Protocol):
    """
    The messages of agents. A mailbox belongs to an AgentSession's uid, needs no making, and
    outlives the session's runs. Every method may raise ``StoreUnavailableError``.
    """

    async def send(self, message: NewMessage) -> StoredMessage:
        """
        Put ``message`` into its mailbox under the next number, and wake who waits for it.

        A message that is there already is returned as it is. Raises TooLarge and MailboxFull.
        """

    async def fetch(self, session_uid: str, after_seq: int, limit: int) -> list[StoredMessage]:
        """Return up to ``limit`` messages after ``after_seq``, in order. They never change."""

    async def mailbox(self, session_uid: str) -> Mailbox:
        """Return how far a mailbox is; all 0 for one that nobody has written to."""

    async def deliver(self, session_uid: str, seq: int) -> None:
        """Note that the agent was given everything up to ``seq``. It never goes back."""

    async def wait(self, session_uid: str, after_seq: int, seconds: float) -> None:
        """
        Wait until there is a message after ``after_seq`` or ``seconds`` are over. It may return
        early; callers look again.
        """


class RunStore(Protocol):
    """
    Runs and their journals. Every method may raise ``StoreUnavailableError``, and
    ``NotStorableError`` for what no database accepts.

    A row, an event or a message that is there and cannot be read keeps no other from being read:
    it is returned with its name, or its number, and the reason.
    """

    @property
    def messages(self) -> MessageStore:
        """The messages of agents, in the same database."""

    async def record_run(self, row: RunRow) -> None:
        """
        Insert or update the row of ``row.run.metadata.uid``.

        A terminal phase once recorded is never replaced by another phase, nor ``deleted_at`` or
        ``session_uid`` by nothing. What could not be read back is left out, and the row says so by
        the annotation of ``agentrun.api.quarantine``.
        """

    async def get_run(self, namespace: str, name: str) -> RunRow | None:
        """Return the run of that name; the newest, if the name was used again."""

    async def get_run_by_uid(self, uid: str) -> RunRow | None:
        """Return the run of that uid."""

    async def get_runs(self, uids: Sequence[str]) -> list[RunRow]:
        """Return the runs of those uids that there are, in no order."""

    async def list_runs(self, which: RunFilter, limit: int, cursor: str | None = None) -> RunPage:
        """
        Return up to ``limit`` runs, newest first. ValueError for a cursor it did not make.

        It looks at ``MOST_LOOKED_AT`` runs: those of the session, if ``which`` names it and one
        namespace; those of the namespace, if it names one; else all. Where there are more, the page
        may be short, even empty, and has a cursor to go on with. A page without one is the last.
        Whoever follows the cursors gets every run once.
        """

    async def changed_runs(
        self, namespace: str, limit: int, before: Place | None = None
    ) -> list[SessionRun]:
        """
        Return up to ``limit`` runs of ``namespace``, the one that changed last first: those whose
        place is less than ``before``.

        What it costs depends on ``limit`` alone, not on how many runs there are.
        """

    async def standing_runs(
        self, namespace: str, sessions: Sequence[SessionKey]
    ) -> dict[SessionKey, SessionRun]:
        """
        Return which run stands for each of ``sessions``: of those that have not ended the one that
        changed last, else of the others. A session without any run is left out.

        A run belongs to the session of its session's name and uid; while it does not know the
        uid, to the one of the name that is asked about. What it costs depends on how many sessions
        are asked about alone, not on how many runs they have.
        """

    async def count_children(self, namespace: str, uid: str) -> int:
        """Count the runs of ``namespace`` that the agent of run ``uid`` has ever asked for."""

    async def parents_in_session(self, namespace: str, session_name: str, limit: int) -> set[str]:
        """
        Return whose agents asked for the runs of a session, by uid: up to ``limit`` of them.

        The empty uid stands for runs that no agent asked for. Without any run there is none.
        """

    async def open_runs(self) -> list[RunRow]:
        """Return the runs whose journal is not sealed, oldest first."""

    async def append(self, uid: str, attempt: int, events: Sequence[NewEvent]) -> JournalHead:
        """
        Append ``events`` in one transaction, and wake the readers.

        Events that are there already (same seq, same event id) are skipped. Raises Conflict for
        another event at a taken seq, and for a gap; Sealed; Fenced if a later attempt has
        appended; UnknownRun. Nothing is stored if anything is refused.
        """

    async def head(self, uid: str) -> JournalHead:
        """Return where the journal ends; 0 for a run without events."""

    async def read(self, uid: str, after_seq: int, limit: int) -> list[Event]:
        """Return up to ``limit`` events after ``after_seq``, in order. They never change."""

    async def seal(self, uid: str, event_id: str, ts: str, data: dict[str, Any]) -> JournalHead:
        """
        Close the journal with a last ``status_changed`` event, in one transaction.

        A sealed journal stays as it is. Raises UnknownRun.
        """

    async def forget(self, uid: str) -> Forgotten:
        """
        Remove a run's row and its journal for good, and messages that only it may have had.

        Those are the mailbox of its session, and the words of what the session has sent to others,
        if no other run of that session is known. Raises UnknownRun.
        """

    async def wait(self, uid: str, after_seq: int, seconds: float) -> None:
        """
        Wait until there is an event after ``after_seq``, the journal is sealed, the run's row
        changed, or ``seconds`` are over. It may return early; callers look again.
        """

    async def close(self) -> None:
        """Wake all readers and let go of the database."""


class BlobStore(Protocol):
    """Bytes under a key: artifacts, patches, snapshots."""

    async def put(self, key: str, body: bytes, media_type: str) -> str:
        """Store ``body`` and return its SHA-256 in hex. The same again is harmless; Conflict for
        other bytes under the key, and for a key that is a folder of another, or below one."""

    async def size(self, key: str) -> int | None:
        """Return the size in bytes; None if there is nothing under the key."""

    def read(self, key: str, offset: int = 0, limit: int | None = None) -> AsyncIterator[bytes]:
        """Stream the bytes from ``offset`` on, at most ``limit`` of them. KeyError if absent."""

    async def delete_prefix(self, prefix: str) -> None:
        """Delete everything whose key begins with ``prefix``."""
