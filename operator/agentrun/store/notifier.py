"""
Wakes the readers of a run when it changes.

This wakes readers of one process. With several replicas on one database, ``listener`` receives the
other replicas' notifications and calls the same methods.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


class Subscription:
    """A ``Changes`` of the store. ``wake`` may be called at any time, and ``next`` misses none."""

    def __init__(self, after_seq: int | None, is_closed: bool) -> None:
        self._after_seq = after_seq
        self._is_closed = is_closed
        self._woken = asyncio.Event()
        if is_closed:
            self._woken.set()

    def appended(self, last_seq: int) -> None:
        """Wake the reader if it waits for an event up to ``last_seq``."""
        if self._after_seq is not None and last_seq > self._after_seq:
            self._woken.set()

    def wake(self) -> None:
        """Wake the reader."""
        self._woken.set()

    def close(self) -> None:
        """Wake the reader, now and whenever it waits again."""
        self._is_closed = True
        self._woken.set()

    async def next(self, seconds: float) -> None:
        """See ``Changes``."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        if not self._is_closed:
            self._woken.clear()


class Notifier:
    """The subscriptions of readers, by the uid of the run or of the mailbox's session."""

    def __init__(self) -> None:
        self._subscriptions: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._is_closed = False

    @asynccontextmanager
    async def subscribe(self, uid: str, after_seq: int | None) -> AsyncIterator[Subscription]:
        """Subscribe for the block to changes, and unless None to events after ``after_seq``."""
        subscription = Subscription(after_seq, self._is_closed)
        self._subscriptions[uid].add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions[uid].discard(subscription)
            if not self._subscriptions[uid]:
                del self._subscriptions[uid]

    def appended(self, uid: str, last_seq: int) -> None:
        """Wake the readers that wait for an event up to ``last_seq``."""
        for subscription in self._subscriptions.get(uid, ()):
            subscription.appended(last_seq)

    def changed(self, uid: str) -> None:
        """Wake all readers of the run."""
        for subscription in self._subscriptions.get(uid, ()):
            subscription.wake()

    def everybody(self) -> None:
        """Wake all readers, because it is unknown what has changed."""
        for uid in self._subscriptions:
            self.changed(uid)

    def close(self) -> None:
        """Wake all readers, current and future ones."""
        self._is_closed = True
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.close()


@dataclass(frozen=True)
class Notice:
    """A notification that a run has changed."""

    sender: str
    """The process that made the change, which ignores the notification."""
    uid: str
    last_seq: int | None
    """The journal's new head; None if something else changed, or it was sealed."""

    def encode(self) -> str:
        """Encode the notice, in about a hundred bytes. PostgreSQL accepts up to 7999."""
        return " ".join(
            (self.sender, "-" if self.last_seq is None else str(self.last_seq), self.uid)
        )


def decode(payload: str) -> Notice | None:
    """Decode a notice; None if it is invalid, since any client may use the channel."""
    parts = payload.split(" ", 2)
    if len(parts) != 3:
        return None
    sender, last_seq, uid = parts
    if last_seq == "-":
        return Notice(sender, uid, None)
    return Notice(sender, uid, int(last_seq)) if last_seq.isdecimal() else None
