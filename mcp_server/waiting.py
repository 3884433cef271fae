"""Waiting for news without missing any, and no longer than the process lives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def listening(
    news: Coroutine[Any, Any, None], stop: asyncio.Event
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """
    Listen for ``news`` during the block, and yield what waits for them, or for ``stop``.

    It listens before the block begins: who looks within it, and waits then, misses nothing.
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
