"""How much memory the processes of a pod take, from /proc."""

import asyncio
import re
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.cluster import RUNNER, pid_of

STEADY = 64 * 1024 * 1024
"""What a runner may take while it works."""
WORST = 128 * 1024 * 1024
"""What it may take for a moment."""
_PAUSE = 0.1


@dataclass
class Memory:
    """Resident memory in bytes, as it was seen."""

    seen: list[int] = field(default_factory=list)
    """Of the program."""
    peak: int = 0
    """The most the program ever took, as the kernel counts."""
    group: int = 0
    """The most that everything in its container was seen to take, the page cache left out."""

    @property
    def steady(self) -> int:
        """What the program took most of the time."""
        return int(statistics.median(self.seen))

    def check(self, steady: int = STEADY) -> None:
        """Hold a runner to its bounds."""
        assert self.seen, "the runner was never seen"
        assert self.steady <= steady, self
        assert self.peak <= WORST, self
        assert self.group <= WORST, self

    def __repr__(self) -> str:
        figures = (self.steady, self.peak, self.group)
        steady, peak, group = (f"{figure / 1024**2:.1f} MiB" for figure in figures)
        return f"<steady {steady}, peak {peak}, container {group}>"


@asynccontextmanager
async def watching(uid: str, program: str = RUNNER) -> AsyncIterator[Memory]:
    """Watch the memory of a pod's program while it runs."""
    memory = Memory()
    task = asyncio.create_task(_watch(uid, program, memory))
    try:
        yield memory
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _watch(uid: str, program: str, memory: Memory) -> None:
    pid: int | None = None
    while True:
        pid = pid or await asyncio.to_thread(pid_of, uid, program)
        if pid:
            try:
                await asyncio.to_thread(_look, pid, memory)
            except (FileNotFoundError, ProcessLookupError):
                return
        await asyncio.sleep(_PAUSE)  # Between two samples.


def resident_of(pid: int) -> dict[str, int]:
    """
    Read what a process takes now (``VmRSS``) and took at most (``VmHWM``), in bytes.

    A process that is ending has neither any more.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE)
    return {name: int(kilobytes) * 1024 for name, kilobytes in found}


def _look(pid: int, memory: Memory) -> None:
    resident = resident_of(pid)
    if resident:
        memory.seen.append(resident["VmRSS"])
        memory.peak = max(memory.peak, resident["VmHWM"])
        memory.group = max(memory.group, _group(pid))


def _group(pid: int) -> int:
    """Read what is not page cache in the control group of a process, version 1 or 2."""
    groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    for line in groups:
        _, controllers, path = line.split(":", 2)
        root = "/sys/fs/cgroup/memory" if controllers == "memory" else "/sys/fs/cgroup"
        if controllers in ("memory", ""):
            file = Path(f"{root}{path}/memory.stat")
            if file.exists():
                stat = dict(line.split() for line in file.read_text(encoding="ascii").splitlines())
                return int(stat.get("total_rss") or stat.get("anon") or 0)
    return 0
