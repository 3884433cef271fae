"""
The part of the run's journal that this attempt writes.

``add`` creates an event and spools it. ``ship`` sends the spooled events as soon as there are any,
one request at a time, and retries while the gateway is unavailable. A blob is sent before the event
that refers to it, so that readers never find a dangling reference.
"""

import asyncio
import errno
import json
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agentrun.api.base import rfc3339
from agentrun.api.bounded_json import SENT, mended
from agentrun.api.events import EventType
from agentrun.api.gateway import MAX_BATCH, MAX_BLOB_BYTES
from agentrun.backoff import Backoff
from agentrun.runner.gateway import (
    Gateway,
    GatewayConflictError,
    GatewayRefusedError,
    GatewayUnavailableError,
    RunFinishedError,
)
from agentrun.runner.journal.large_text import LargeText, Text, with_previews
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.journal.sanitize import sanitize
from agentrun.runner.journal.spool import Spool, SpooledEvent, StoredBlob, encode

SPOOL_BOUND = 64 * 1024 * 1024
"""The spool size from which the agent's output is not read until the gateway has caught up."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""The errors of a disk that is full."""
_BATCH_BYTES = 1024 * 1024
_PAUSES = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0)

log = logging.getLogger(__name__)

Listener = Callable[[EventType, dict[str, Any]], None]


class Journal:
    """The events of this attempt, in order."""

    def __init__(
        self, spool: Spool, gateway: Gateway, redactor: Redactor, attempt: int, listen: Listener
    ) -> None:
        self._spool = spool
        self._gateway = gateway
        self._redactor = redactor
        self._attempt = attempt
        self._listen = listen
        self._next = 1
        self._notice: SpooledEvent | None = None
        self._lost = self._unreported = 0
        self._more = asyncio.Event()
        self._changed = asyncio.Condition()
        self.last_error = ""
        """The error of the last request; empty if it succeeded."""

    @property
    def trouble(self) -> str:
        """Why events or the outcome cannot be delivered, also if no request has failed so far."""
        return self.last_error or "it did not answer in time."

    def start_after(self, last_seq: int) -> None:
        """Continue a journal whose head is ``last_seq``."""
        self._next = last_seq + 1

    def add(self, kind: EventType, data: dict[str, Any], *files: StoredBlob) -> bool:
        """
        Add an event, without secrets and within the size limit; store it until acknowledged.

        False if the disk is full: the event is lost, and the next one is preceded by a notice.
        """
        # Regardless of the source (agent, remote agent, tool): the gateway accepts nothing else.
        clean, _ = mended(self._redactor.data(data), "data", SENT)
        self._listen(kind, with_previews(clean))
        try:
            if self._unreported:
                self._put(EventType.REASONING, {"text": _lost(self._unreported)})
                self._unreported = 0
            self._put(kind, clean, *files)
        except OSError as error:
            if error.errno not in FULL:
                raise
            log.error("An event of type %s is lost: %s", kind, error)
            self._lost, self._unreported = self._lost + 1, self._unreported + 1
            return False
        return True

    @property
    def losses(self) -> str:
        """How many events are lost because the disk was full; empty if none are."""
        return _lost(self._lost) if self._lost else ""

    def _put(self, kind: EventType, data: dict[str, Any], *files: StoredBlob) -> None:
        seq = self._next + self._spool.pending
        small, blobs = sanitize(data, f"artifacts/{seq:06d}-{kind}-{self._attempt}")
        stored = [
            StoredBlob(blob.name, self._spool.new_file(), blob.media_type, 0) for blob in blobs
        ]
        try:
            sized = [_store(one, blob.text) for one, blob in zip(stored, blobs, strict=True)]
            self._spool.append(_event(kind, small), (*sized, *files))
        except OSError:
            for one in (*stored, *files):
                one.path.unlink(missing_ok=True)
            raise
        self._more.set()

    def new_file(self) -> Path:
        """Return the path of a new file, for a blob that is too large for memory."""
        return self._spool.new_file()

    async def room(self) -> None:
        """Wait until the spool has room for more."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._spool.size < SPOOL_BOUND)

    async def drained(self) -> None:
        """Wait until all events are acknowledged."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._spool.pending == 0)

    async def ship(self) -> None:
        """Send events until cancelled. Raises RunFinishedError when no more are stored."""
        backoff = Backoff(_PAUSES)
        while True:
            await self._more.wait()
            batch = self._spool.peek(MAX_BATCH, _BATCH_BYTES)
            if not batch:
                self._more.clear()
                continue
            try:
                await self._send(batch)
            except GatewayUnavailableError as error:
                if not self.last_error:
                    log.warning("The gateway is unavailable; events are buffered: %s", error)
                self.last_error = str(error)
                await backoff.wait()
                continue
            if self.last_error:
                log.warning("The gateway is available again.")
            backoff.reset()
            self.last_error = ""

    async def _send(self, batch: Sequence[SpooledEvent]) -> bool:
        """Send events. False if their seqs have changed instead, and they must be sent again."""
        try:
            if self._notice:
                await self._gateway.append(_body([self._notice], self._next))
                self._next, self._notice = self._next + 1, None
            for event in batch:
                await self._send_blobs(event)
            await self._gateway.append(_body(batch, self._next))
        except GatewayConflictError as conflict:
            self._renumber(conflict)
            return False
        except GatewayRefusedError as refused:
            return await self._send_singly(batch, refused)
        await self._acknowledge(len(batch))
        return True

    def _renumber(self, conflict: GatewayConflictError) -> None:
        """
        Continue after the head in the gateway's conflict response.

        The gateway recognizes events of this attempt by their ids, so the events at these seqs
        are the end of an earlier attempt that arrived late. If there are none, the store was
        restored from a backup, and acknowledged events are lost: a notice in the journal informs
        readers.
        """
        if conflict.last_seq is None or conflict.last_seq + 1 == self._next:
            raise GatewayUnavailableError(str(conflict))
        log.warning("The journal continues after %s: %s", conflict.last_seq, conflict)
        if conflict.last_seq + 1 < self._next:
            text = (
                f"Events {conflict.last_seq + 1} to {self._next - 1} are lost: the store was"
                " restored to an earlier state. The journal continues here."
            )
            notice = _event(EventType.REASONING, {"text": text})
            self._notice = SpooledEvent(encode(notice), ())
        self._next = conflict.last_seq + 1

    async def _send_singly(
        self, batch: Sequence[SpooledEvent], refused: GatewayRefusedError
    ) -> bool:
        """Find the refused event, and append a notice in its place."""
        if len(batch) > 1:
            for event in batch:
                if not await self._send([event]):
                    return False
            return True
        log.error("The gateway refused an event: %s", refused)
        text = f"An event was lost, because the gateway refused it: {refused}"
        notice = _event(EventType.REASONING, {"text": text[:2000]})
        # The same id each time: it may be stored already, if only the response was lost.
        notice["event_id"] = _notice_id(batch[0])
        try:
            await self._gateway.append(_body([SpooledEvent(encode(notice), ())], self._next))
        except GatewayConflictError as conflict:
            self._renumber(conflict)
            return False
        except GatewayRefusedError as again:
            raise RunFinishedError(f"the gateway accepts no events: {again}") from again
        await self._acknowledge(1)
        return True

    async def _acknowledge(self, count: int) -> None:
        self._next += count
        async with self._changed:
            self._spool.drop(count)
            self._changed.notify_all()

    async def _send_blobs(self, event: SpooledEvent) -> None:
        for blob in event.blobs:
            if not blob.path.exists():
                continue
            try:
                await self._gateway.put_blob(blob.name, blob.path, blob.size, blob.media_type)
            except (GatewayConflictError, GatewayRefusedError) as error:
                # The event without its blob is worth more than the blob without its event.
                log.error("The gateway does not store %s: %s", blob.name, error)
            blob.path.unlink()


def _body(batch: Sequence[SpooledEvent], first: int) -> bytes:
    events = (
        b'{"seq":%d,%s' % (seq, event.body[1:]) for seq, event in enumerate(batch, start=first)
    )
    return b'{"events":[' + b",".join(events) + b"]}"


def _store(blob: StoredBlob, text: Text) -> StoredBlob:
    """Write the content of a blob, and return the blob with its size."""
    if isinstance(text, LargeText):
        blob.path.hardlink_to(text.path)
        return replace(blob, size=text.size)
    raw = text.encode(errors="replace")[:MAX_BLOB_BYTES]
    blob.path.write_bytes(raw)
    return replace(blob, size=len(raw))


def _lost(count: int) -> str:
    events = "1 event is" if count == 1 else f"{count} events are"
    return f"{events} missing in the journal: the runner's disk was full."


def _notice_id(lost: SpooledEvent) -> str:
    return uuid.uuid5(uuid.UUID(json.loads(lost.body)["event_id"]), "lost").hex


def _event(kind: EventType, data: dict[str, Any]) -> dict[str, Any]:
    ts = rfc3339(datetime.now(UTC))
    return {"event_id": uuid.uuid4().hex, "ts": ts, "type": kind.value, "data": data}
