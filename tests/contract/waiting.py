"""Readers that wait."""

import asyncio

from agentrun.store.base import RunStore

LONG = 600.0
"""Longer than a test may take: a wait of it ends because it was woken."""


async def begin_waiting(store: RunStore, uid: str, after_seq: int) -> asyncio.Task[None]:
    """Begin to wait, and return once the store has looked at what is there."""
    waiting = asyncio.create_task(store.wait(uid, after_seq, LONG))
    for _ in range(3):
        await asyncio.sleep(0)  # So that it waits, each time a step further.
        await store.head(uid)
    assert not waiting.done()
    return waiting
