"""Waits for changes without missing one, and not beyond the shutdown of the process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def listening(
    news: Coroutine[Any, Any, None], stop: asyncio.Event
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """
    Listen for ``news`` during the block; yield a function that waits for it, or for ``stop``.

    Listening starts before the block: code that reads the state in the block and then waits misses
    no change.
    """
    heard, stopped = asyncio.ensure_future(news), asyncio.ensure_future(stop.wait())

    async def wait() -> None:
        await asyncio.wait({heard, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if heard.done():
            heard.result()

    try:
        await asyncio.sleep(0)
        yield wait
    finally:
        heard.cancel()
        stopped.cancel()
        await asyncio.gather(heard, stopped, return_exceptions=True)
