"""
Waking the readers of a run when it changes.

This wakes readers of one process. With several replicas on one database, ``listener`` hears of
the others' writes and calls the same methods.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass


@dataclass(eq=False)
class _Reader:
    after_seq: int
    woken: asyncio.Event


class Notifier:
    """The readers that wait, by the uid of the run they wait for."""

    def __init__(self) -> None:
        self._readers: defaultdict[str, set[_Reader]] = defaultdict(set)
        self._closed = False

    def subscribe(self, uid: str, after_seq: int) -> "Subscription":
        """Begin to listen at once, so that nothing is missed while the caller looks."""
        reader = _Reader(after_seq, asyncio.Event())
        if self._closed:
            reader.woken.set()
        return Subscription(self._readers, uid, reader)

    def appended(self, uid: str, last_seq: int) -> None:
        """Wake those who wait for an event that is there now."""
        for reader in self._readers.get(uid, ()):
            if last_seq > reader.after_seq:
                reader.woken.set()

    def changed(self, uid: str) -> None:
        """Wake everybody who waits for the run."""
        for reader in self._readers.get(uid, ()):
            reader.woken.set()

    def everybody(self) -> None:
        """Wake all readers: nobody knows what has changed."""
        for uid in self._readers:
            self.changed(uid)

    def close(self) -> None:
        """Wake everybody, now and from now on."""
        self._closed = True
        self.everybody()


class Subscription:
    """A reader's place, from its making until the end of its ``with`` block."""

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
        """Wait until woken, or until ``seconds`` are over."""
        try:
            async with asyncio.timeout(seconds):
                await self._reader.woken.wait()
        except TimeoutError:
            return
