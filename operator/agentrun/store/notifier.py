"""
Wakes the readers of a run when it changes.

This wakes readers of one process. With several replicas on one database, ``listener`` receives the
other replicas' notifications and calls the same methods.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass


@dataclass(eq=False)
class _Reader:
    after_seq: int
    woken: asyncio.Event


class Notifier:
    """The waiting readers, by the uid of the run or of the mailbox's session."""

    def __init__(self) -> None:
        self._readers: defaultdict[str, set[_Reader]] = defaultdict(set)
        self._closed = False

    def subscribe(self, uid: str, after_seq: int) -> "Subscription":
        """Subscribe immediately, so that no change is missed while the caller reads."""
        reader = _Reader(after_seq, asyncio.Event())
        if self._closed:
            reader.woken.set()
        return Subscription(self._readers, uid, reader)

    def appended(self, uid: str, last_seq: int) -> None:
        """Wake the readers that wait for an event up to ``last_seq``."""
        for reader in self._readers.get(uid, ()):
            if last_seq > reader.after_seq:
                reader.woken.set()

    def changed(self, uid: str) -> None:
        """Wake all readers of the run."""
        for reader in self._readers.get(uid, ()):
            reader.woken.set()

    def everybody(self) -> None:
        """Wake all readers, because it is unknown what has changed."""
        for uid in self._readers:
            self.changed(uid)

    def close(self) -> None:
        """Wake all readers, current and future ones."""
        self._closed = True
        self.everybody()


class Subscription:
    """A reader's subscription, from its creation until the end of its ``with`` block."""

    def __init__(self, readers: defaultdict[str, set[_Reader]], uid: str, reader: _Reader) -> None:
        self._readers, self._uid, self._reader = readers, uid, reader
        readers[uid].add(reader)

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *_: object) -> None:
        place = self._readers[self._uid]
        place.discard(self._reader)
        if not place:
            del self._readers[self._uid]

    async def wait(self, seconds: float) -> None:
        """Wait until woken, or until ``seconds`` have passed."""
        try:
            async with asyncio.timeout(seconds):
                await self._reader.woken.wait()
        except TimeoutError:
            return
