"""The work queue: one turn at a time for a key, none lost, none in vain."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from agentrun.controller.queue import RequeueError, WorkQueue
from tests.waiting import LATE_SECONDS

Turn = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def working(queue: WorkQueue[str], reconcile: Turn, workers: int = 2) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(queue.work(reconcile)) for _ in range(workers)]
    try:
        yield
    finally:
        queue.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Recorder:
    """Notes the turns; lets a test wait for the next, and hold one up."""

    def __init__(self) -> None:
        self.turns: asyncio.Queue[str] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_once = 0
        self.most_at_once = 0

    async def __call__(self, key: str) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.turns.put_nowait(key)
        await self.gate.wait()
        self.at_once -= 1

    async def next(self) -> str:
        return await asyncio.wait_for(self.turns.get(), LATE_SECONDS)

    async def drain(self) -> list[str]:
        for _ in range(20):
            await asyncio.sleep(0)  # Until all that has a turn has had it.
        return [self.turns.get_nowait() for _ in range(self.turns.qsize())]


async def test_a_key_added_twice_before_it_is_processed_is_processed_once() -> None:
    queue, recorder = WorkQueue[str](), Recorder()
    queue.add("a")
    queue.add("a")
    queue.add("b")
    async with working(queue, recorder):
        assert await recorder.next() == "a"
        assert await recorder.next() == "b"
        assert await recorder.drain() == []


async def test_a_key_is_never_processed_concurrently_but_once_more_afterwards() -> None:
    queue, recorder = WorkQueue[str](), Recorder()
    recorder.gate.clear()
    async with working(queue, recorder):
        queue.add("a")
        assert await recorder.next() == "a"
        queue.add("a")
        queue.add("a")
        assert await recorder.drain() == []
        recorder.gate.set()
        assert await recorder.next() == "a"
        assert await recorder.drain() == []
    assert recorder.most_at_once == 1


async def test_different_keys_are_processed_concurrently_up_to_the_number_of_workers() -> None:
    queue, recorder = WorkQueue[str](), Recorder()
    recorder.gate.clear()
    async with working(queue, recorder, workers=2):
        for key in "abc":
            queue.add(key)
        assert await recorder.drain() == ["a", "b"]
        recorder.gate.set()
        assert await recorder.next() == "c"
    assert recorder.most_at_once == 2


async def test_a_failed_key_is_retried_and_does_not_block_others() -> None:
    queue, seen = WorkQueue[str](), asyncio.Queue[str]()
    failing = {"bad": 2}

    async def reconcile(key: str) -> None:
        seen.put_nowait(key)
        if failing.get(key, 0):
            failing[key] -= 1
            raise RuntimeError("no")

    async with working(queue, reconcile, workers=1):
        queue.add("bad")
        queue.add("good")
        turns = [await asyncio.wait_for(seen.get(), LATE_SECONDS) for _ in range(4)]
    assert sorted(turns) == ["bad", "bad", "bad", "good"]
    assert turns[:2] == ["bad", "good"]


async def test_backoff_doubles_with_each_failure_and_resets_after_a_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = WorkQueue[str](jitter=lambda: 1.0)
    pauses: list[float] = []
    outcomes = iter(
        [RequeueError("1"), RequeueError("2"), RequeueError("3"), None, RequeueError("4"), None]
    )
    finished = asyncio.Event()

    def add_after(key: str, seconds: float) -> None:
        pauses.append(seconds)
        queue.add(key)

    async def reconcile(key: str) -> None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        finished.set()

    monkeypatch.setattr(queue, "add_after", add_after)
    async with working(queue, reconcile, workers=1):
        queue.add("a")
        await asyncio.wait_for(finished.wait(), LATE_SECONDS)
        finished.clear()
        queue.add("a")
        await asyncio.wait_for(finished.wait(), LATE_SECONDS)
    assert pauses == [0.1, 0.2, 0.4, 0.1]


async def test_the_backoff_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = WorkQueue[str](jitter=lambda: 1.0)
    pauses: list[float] = []
    enough = asyncio.Event()

    def add_after(key: str, seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) < 30:
            queue.add(key)
        else:
            enough.set()

    async def reconcile(key: str) -> None:
        raise RequeueError("never")

    monkeypatch.setattr(queue, "add_after", add_after)
    async with working(queue, reconcile, workers=1):
        queue.add("a")
        await asyncio.wait_for(enough.wait(), LATE_SECONDS)
    assert max(pauses) == 30.0


async def test_a_later_delay_does_not_postpone_an_earlier_one() -> None:
    queue, recorder = WorkQueue[str](), Recorder()
    async with working(queue, recorder):
        queue.add_after("a", 3600)
        queue.add_after("a", 0.01)
        queue.add_after("a", 3600)
        assert await recorder.next() == "a"


async def test_a_time_in_the_past_is_now() -> None:
    queue, recorder = WorkQueue[str](), Recorder()
    async with working(queue, recorder):
        queue.add_after("a", -5)
        assert await recorder.next() == "a"
