"""Waits for changes in the store, but not beyond the shutdown of the process."""

import asyncio

from agentrun.store.base import Changes


async def next_change(changes: Changes, seconds: float, stop: asyncio.Event) -> None:
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
