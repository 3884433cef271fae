"""Readers that wait."""

import asyncio
from contextlib import AbstractAsyncContextManager

from agentrun.store.base import Changes, RunStore

LONG = 600.0
"""Longer than a test may take: a wait of this length ends only by a notification."""


async def begin_waiting(subscription: AbstractAsyncContextManager[Changes]) -> asyncio.Task[None]:
    """Start to wait, and return once the subscription has begun."""
    begun = asyncio.Event()

    async def wait() -> None:
        async with subscription as changes:
            begun.set()
            await changes.next(LONG)

    waiting = asyncio.create_task(wait())
    await begun.wait()
    await asyncio.sleep(0)  # Yields, so that the task goes on.
    assert not waiting.done()
    return waiting


async def wait_for_event(store: RunStore, uid: str, after_seq: int) -> None:
    """Wait until the run has an event after ``after_seq``."""
    async with store.changes(uid, after_seq) as changes:
        while (await store.head(uid)).last_seq <= after_seq:
            await changes.next(LONG)
