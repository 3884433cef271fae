"""Readers that wait."""

import asyncio

from agentrun.store.base import RunStore

LONG = 600.0
"""Longer than a test may take: a wait of this length ends only by a notification."""


async def begin_waiting(store: RunStore, uid: str, after_seq: int) -> asyncio.Task[None]:
    """Start to wait, and return once the store has read the current events."""
    waiting = asyncio.create_task(store.wait(uid, after_seq, LONG))
    for _ in range(3):
        await asyncio.sleep(0)  # Yields, so that the task gets a step further each time.
        await store.head(uid)
    assert not waiting.done()
    return waiting
