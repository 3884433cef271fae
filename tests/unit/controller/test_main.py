"""The operator's process: its tasks live and die together."""

import asyncio

import pytest

from agentrun.controller.main import run_together


class Stopped:
    """Notes whether a task that would run for ever was ended."""

    def __init__(self) -> None:
        self.is_stopped = False

    async def forever(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.is_stopped = True


async def test_what_runs_beside_ends_with_the_watches() -> None:
    beside = Stopped()

    async def watches() -> None:
        await asyncio.sleep(0)

    await run_together([beside.forever()], watches())
    assert beside.is_stopped


async def test_trouble_beside_ends_the_watches() -> None:
    watches = Stopped()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise RuntimeError("wedged")

    with pytest.raises(RuntimeError, match="wedged"):
        await run_together([fail()], watches.forever())
    assert watches.is_stopped


async def test_trouble_with_the_watches_is_raised() -> None:
    beside = Stopped()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise RuntimeError("no watch")

    with pytest.raises(RuntimeError, match="no watch"):
        await run_together([beside.forever()], fail())
    assert beside.is_stopped
