"""
Waits for changes in the store, but not beyond the shutdown of the process.

Clients that wait are sent progress notifications.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from mcp.server.mcpserver import Context

from agentrun.store.base import Changes, RunRow
from mcp_server.views import status_of, summary_of

T = TypeVar("T")


async def read_until(
    subscription: AbstractAsyncContextManager[Changes],
    read: Callable[[], Awaitable[T]],
    is_enough: Callable[[T], bool],
    seconds: float,
    stop: asyncio.Event,
) -> T:
    """
    Read until ``is_enough``, ``seconds`` have passed, or ``stop`` is set; return what was read.

    It reads at least once, and again after each change. The subscription begins before the first
    read, so that no change between the two is missed.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    async with subscription as changes:
        while True:
            found = await read()
            left = deadline - clock()
            if is_enough(found) or left <= 0 or stop.is_set():
                return found
            await _next(changes, left, stop)


async def _next(changes: Changes, seconds: float, stop: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(changes.next(seconds)), asyncio.ensure_future(stop.wait())]
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in done:
            wait.result()
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


PROGRESS_SECONDS = 5.0
"""The interval of progress notifications: clients time out on silent servers."""


async def report_wait(ctx: Context[Any, Any], row: RunRow, waited: float, seconds: float) -> None:
    """
    Send a progress notification with the time waited and the status of the run.

    Nothing is sent to a client that did not request progress.
    """
    await ctx.report_progress(
        round(waited, 3), seconds, f"{row.run.metadata.name} {status_of(row)}: {summary_of(row)}"
    )
