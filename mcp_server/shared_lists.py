"""Lists of the API server that many calls share, however many there are."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

PAUSE_SECONDS = 0.25
"""How long after a list has begun the next one begins, at the soonest."""

T = TypeVar("T")


class SharedList(Generic[T]):
    """
    One list for all who ask at about the same time.

    It begins after they have asked: nobody gets one that is older than their question.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[T]], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._next: asyncio.Task[T] | None = None
        self._soonest = 0.0
        self._turn = asyncio.Lock()

    async def get(self) -> T:
        """Return the list; raises what fetching it raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._begin())
            # Whoever has asked may have left when it fails.
            self._next.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._next)

    async def _begin(self) -> T:
        async with self._turn:
            await asyncio.sleep(max(0.0, self._soonest - self._monotonic()))
            self._soonest = self._monotonic() + PAUSE_SECONDS
            self._next = None
            return await self._fetch()
