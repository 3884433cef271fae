"""Memory of the processes of a pod."""

import asyncio
import errno
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.e2e.cluster import RUNNER, pid_of
from tests.volume import Memory, sampled


def watching(uid: str, program: str = RUNNER) -> AbstractAsyncContextManager[Memory]:
    """Watch the memory of a pod's program while it runs."""
    pid: int | None = None

    async def look(memory: Memory) -> None:
        nonlocal pid
        pid = pid or await asyncio.to_thread(pid_of, uid, program)
        if pid:
            memory.look(pid)
            memory.group = max(memory.group, _group(pid, uid))

    return sampled(look)


def _group(pid: int, uid: str) -> int:
    """Read the memory without page cache of a pod's control group, version 1 or 2."""
    groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    for line in groups:
        _, controllers, path = line.split(":", 2)
        root = "/sys/fs/cgroup/memory" if controllers == "memory" else "/sys/fs/cgroup"
        # A process that has ended but is not reaped is in the root control group.
        if controllers in ("memory", "") and uid in path:
            try:
                text = Path(f"{root}{path}/memory.stat").read_text(encoding="ascii")
            except OSError as error:
                # The group was removed, before or after the file was opened.
                if error.errno in (errno.ENOENT, errno.ENODEV):
                    return 0
                raise
            stat = dict(line.split() for line in text.splitlines())
            return int(stat.get("total_rss") or stat.get("anon") or 0)
    return 0
