"""A journal that grows long and fast: whoever follows it meanwhile gets all of it, in order."""

import asyncio

from agentrun.api.gateway import MAX_BATCH
from agentrun.store.base import RunStore
from tests.contract.builders import a_row, events

EVENTS = 20_000
PAGE = 1000
LONG = 30.0


async def test_a_long_journal_is_read_while_it_is_written(store: RunStore) -> None:
    for uid in ("uid-1", "other"):
        await store.record_run(a_row(uid))
    await store.append("other", 1, events(1, 3))
    asked = 0

    async def write() -> None:
        for first in range(1, EVENTS, MAX_BATCH):
            await store.append("uid-1", 1, events(first, first + MAX_BATCH - 1))
            await asyncio.sleep(0)  # As a server answers others between two batches.

    async def follow() -> list[int]:
        seen: list[int] = []
        async with store.changes("uid-1", 0) as changes:
            while len(seen) < EVENTS:
                page = await store.read("uid-1", len(seen), PAGE)
                assert len(page) <= PAGE
                assert [event.data["text"] for event in page] == [f"Message {e.seq}" for e in page]
                seen += [event.seq for event in page]
                if not page:
                    await changes.next(LONG)
        return seen

    writing, following = asyncio.create_task(write()), asyncio.create_task(follow())
    while not writing.done():
        # Whose run says little is heard all the same.
        assert len(await store.read("other", 0, PAGE)) == 3
        asked += 1
        await asyncio.sleep(0)  # A store in memory answers without a turn of the loop.
    await writing
    assert await following == list(range(1, EVENTS + 1))
    assert (await store.head("uid-1")).last_seq == EVENTS
    assert asked > 10
