"""Waiting for tasks, and ending them."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def cancel(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel, and wait until all have ended; how they did is not told."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def first(work: Coroutine[Any, Any, None], helper: asyncio.Task[None] | None) -> None:
    """Wait for ``work``, or until the helper that does it has ended."""
    done = asyncio.create_task(work)
    ways = {done, helper} if helper else {done}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(done)
