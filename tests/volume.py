"""
Limits that a runner must keep when its agent produces very much output: memory, spool, events.

``tests/unit/runner/test_volume.py`` checks them for a runner alone, in full, and
``tests/e2e/test_events.py`` for the whole installation, with less output.
"""

import asyncio
import hashlib
import re
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from agentrun.runner.journal.journal import SPOOL_BOUND
from tests.events import Json, data_of

MEGABYTE = 1024 * 1024
STEADY = 64 * MEGABYTE
"""The memory that a runner may take while it works."""
WORST = 128 * MEGABYTE
"""The memory that it may take for a moment."""
MORE_THAN_FITS = 80
"""Messages of a megabyte: the spool fills up, and the agent has to wait with the rest."""
UNDER_WAY = 8 * MEGABYTE
"""What may be on its way into a full spool: a message or two, each twice for a moment."""
PAUSE = 0.1
"""Seconds between two samples."""


@dataclass
class Memory:
    """Sampled resident memory, in bytes."""

    seen: list[int] = field(default_factory=list)
    """The samples of the program."""
    peak: int = 0
    """The program's peak, as the kernel counts it."""
    group: int = 0
    """The largest sample of the whole container, without the page cache."""

    @property
    def steady(self) -> int:
        """The median of the samples."""
        return int(statistics.median(self.seen))

    def look(self, pid: int) -> None:
        """Take a sample; a process that is ending gives none."""
        if resident := _resident_of(pid):
            self.seen.append(resident["VmRSS"])
            self.peak = max(self.peak, resident["VmHWM"])

    def check(self, steady: int = STEADY) -> None:
        """Assert that the runner kept its limits."""
        assert self.seen, "the runner was never seen"
        assert self.steady <= steady, self
        assert self.peak <= WORST, self
        assert self.group <= WORST, self

    def __repr__(self) -> str:
        if not self.seen:
            return "<never seen>"
        figures = (self.steady, self.peak, self.group)
        steady, peak, group = (f"{figure / MEGABYTE:.1f} MiB" for figure in figures)
        return f"<steady {steady}, peak {peak}, container {group}>"


@asynccontextmanager
async def sampled(look: Callable[[Memory], Awaitable[None]]) -> AsyncIterator[Memory]:
    """Sample the memory of a process periodically, until the process or the block ends."""
    memory = Memory()

    async def watch() -> None:
        with suppress(FileNotFoundError, ProcessLookupError):  # It has ended.
            while True:
                await look(memory)
                await asyncio.sleep(PAUSE)  # Between two samples.

    task = asyncio.create_task(watch())
    try:
        yield memory
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def watching_process(pid: int) -> AbstractAsyncContextManager[Memory]:
    """Watch the memory of a process while it runs."""

    async def look(memory: Memory) -> None:
        memory.look(pid)

    return sampled(look)


def _resident_of(pid: int) -> dict[str, int]:
    """
    Read the current (``VmRSS``) and peak (``VmHWM``) memory of a process, in bytes.

    A process that is ending has neither.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE)
    return {name: int(kilobytes) * 1024 for name, kilobytes in found}


async def check_held_up(spool: Path, seconds: float = 90) -> None:
    """Wait until a spool is full and its size is stable, though its agent has more output."""
    before = 0
    async with asyncio.timeout(seconds):
        while True:
            held = await asyncio.to_thread(_size, spool)
            if held == before and held > SPOOL_BOUND * 0.9:
                break
            before = held
            await asyncio.sleep(1)  # How long the size must be stable.
    assert held <= SPOOL_BOUND + UNDER_WAY < MORE_THAN_FITS * MEGABYTE


def _size(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # Large messages are there for a moment only.
            total += path.stat().st_size
    return total


def paced(count: int) -> list[str]:
    """Return the texts that the trivial agent sends at a fixed pace."""
    texts = (f"message {number}" for number in range(1, count + 1))
    return [f"{one} {hashlib.sha256(one.encode()).hexdigest()}" for one in texts]


def shown(events: list[Json]) -> int:
    """Return how many bytes of terminal output are stored as artifacts, outside the events."""
    refs = (
        data.get("artifact_refs", {}).get("/output") for data in data_of(events, "command_updated")
    )
    return sum(ref["total_bytes"] for ref in refs if ref)


def check_tools(events: list[Json], count: int) -> None:
    """Assert that all tools were reported: each starts once before it finishes, and all finish."""
    commands = {data["command"] for data in data_of(events, "command_started")}
    assert {f"make {number}" for number in range(count) if number % 7} <= commands
    at_work: set[str] = set()
    for event in events:
        name = event["data"].get("tool_use_id")
        if event["type"] == "command_started":
            assert name not in at_work, event
            at_work.add(name)
        elif event["type"] == "command_finished":
            at_work.remove(name)
    assert at_work == set()
