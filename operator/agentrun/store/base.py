"""
What the store promises, whichever database is behind it.

``tests/contract`` holds every implementation to these docstrings, the fake as well.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from agentrun.api.events import Event, NewEvent
from agentrun.api.v1alpha1 import AgentRun, Phase


class StoreError(Exception):
    """Something the store will not, or cannot, do."""


class Conflict(StoreError):  # noqa: N818 - what it is, not that it is an error
    """Another event, or other bytes, stand where these should go. Carries the journal's head."""

    def __init__(self, message: str, last_seq: int = 0) -> None:
        super().__init__(message)
        self.last_seq = last_seq


class Sealed(StoreError):  # noqa: N818
    """The journal is sealed: the run is over."""


class Fenced(StoreError):  # noqa: N818
    """A newer attempt of the run has written already."""


class UnknownRun(StoreError):  # noqa: N818
    """The run was never recorded, so it has no journal to write to."""


class Unavailable(StoreError):  # noqa: N818
    """The database or its disk cannot be written or read just now; trying again may help."""


class TooNew(StoreError):  # noqa: N818
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
    """The status of the newest event that names one. Read only."""
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
class RunPage:
    """A page of runs, newest creation first, and the cursor of the next page."""

    rows: list[RunRow] = field(default_factory=list)
    cursor: str | None = None


@dataclass(frozen=True)
class JournalHead:
    """Where a journal ends."""

    last_seq: int = 0
    sealed: bool = False


class RunStore(Protocol):
    """Runs and their journals. Every method may raise ``Unavailable``."""

    async def record_run(self, row: RunRow) -> None:
        """
        Insert or update the row of ``row.run.metadata.uid``.

        A terminal phase once recorded is never replaced by another phase, nor ``deleted_at`` or
        ``session_uid`` by nothing.
        """

    async def get_run(self, namespace: str, name: str) -> RunRow | None:
        """Return the run of that name; the newest, if the name was used again."""

    async def get_run_by_uid(self, uid: str) -> RunRow | None:
        """Return the run of that uid."""

    async def list_runs(self, which: RunFilter, limit: int, cursor: str | None = None) -> RunPage:
        """Return up to ``limit`` runs, newest first. ValueError for a cursor it did not make."""

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
