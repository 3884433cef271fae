"""Waits for tasks, and cancels them."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def cancel(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel the tasks, and wait until all have ended; their results and errors are ignored."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def first(work: Coroutine[Any, Any, None], helper: asyncio.Task[None] | None) -> None:
    """Wait for ``work``, or until the background task that it depends on has ended."""
    done = asyncio.create_task(work)
    ways = {done, helper} if helper else {done}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(done)
