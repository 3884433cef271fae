"""Waits for changes in the store, but not beyond the shutdown of the process."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from agentrun.store.base import Changes

T = TypeVar("T")


async def read_until(
    is_enough: Callable[[T], bool],
    read: Callable[[], Awaitable[T]],
    changes: AbstractAsyncContextManager[Changes],
    seconds: float,
    stop: asyncio.Event,
) -> T:
    """
    Read until it ``is_enough``, ``seconds`` have passed, or ``stop`` is set; return what was read.

    It reads at least once, and again after each of ``changes`` and at the deadline. The
    subscription begins before the first read, so no change is missed.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    async with changes as subscription:
        while True:
            found = await read()
            left = deadline - clock()
            if is_enough(found) or left <= 0 or stop.is_set():
                return found
            await _next_change(subscription, left, stop)


async def _next_change(changes: Changes, seconds: float, stop: asyncio.Event) -> None:
    """Wait for the next of ``changes``, up to ``seconds``, or until ``stop`` is set."""
    waits = [asyncio.ensure_future(changes.next(seconds)), asyncio.ensure_future(stop.wait())]
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in done:
            wait.result()
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
