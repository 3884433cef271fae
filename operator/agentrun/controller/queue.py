"""
A work queue of keys.

A key that is added several times before it is reconciled is reconciled once. A key is never
reconciled by two workers concurrently. A key that is added while it is being reconciled is
reconciled again afterwards. Failed keys are requeued with exponential backoff. So a trigger
consists of a key only, and losing one of two triggers is harmless.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0


class RequeueError(Exception):
    """The key must be reconciled again after a backoff."""


class WorkQueue(Generic[Key]):
    """A queue of keys to reconcile."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._waiting: asyncio.Queue[Key] = asyncio.Queue()
        self._dirty: set[Key] = set()
        self._busy: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._jitter = jitter

    def add(self, key: Key) -> None:
        """Queue ``key`` to be reconciled by the next free worker."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._busy:
            self._waiting.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Queue ``key`` after ``seconds``, or earlier if it is already scheduled earlier."""
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0.0, seconds)
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= at:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(at, self._on_time, key)

    def requeues_of(self, key: Key) -> int:
        """Return how many times in a row ``key`` was requeued with backoff."""
        return self._failures.get(key, 0)

    async def work(self, reconcile: Callable[[Key], Awaitable[None]]) -> None:
        """Reconcile keys until cancelled. Any number of workers may run concurrently."""
        while True:
            key = await self._waiting.get()
            self._dirty.discard(key)
            self._busy.add(key)
            try:
                await reconcile(key)
            except RequeueError as reason:
                logger.debug("%s: requeued with backoff: %s", key, reason)
                self._retry(key)
            except Exception:
                # An error with one key must not stop the others.
                logger.exception("%s: requeued with backoff after an error", key)
                self._retry(key)
            else:
                self._failures.pop(key, None)
            finally:
                self._busy.discard(key)
                if key in self._dirty:
                    self._waiting.put_nowait(key)

    def close(self) -> None:
        """Cancel all scheduled requeues."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _on_time(self, key: Key) -> None:
        del self._timers[key]
        self.add(key)

    def _retry(self, key: Key) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 16))
        self.add_after(key, pause * (0.5 + self._jitter() / 2))
