"""
Restores a virtual machine's memory performance before times are measured on it.

A host allocates to a machine no more memory than the machine uses, and reclaims pages that were not
accessed for long. Accessing such a page then blocks: 20 µs were measured instead of 0.05, and
everything is three to seven times slower, although nothing else runs. Most of the memory that a
long-running machine uses is page cache of files that are not read again, such as images after they
are unpacked. Dropping the cache and compacting the rest of the memory fixes that in seconds.
"""

import mmap
import os
import re
import time
from pathlib import Path

from dev.shell import say, step

SLOW_MICROSECONDS = 1.0
"""Above this, a program mostly waits for memory; a healthy machine takes 0.1."""
MOST_CACHED = 4 << 30
"""The tests repeatedly read a fourth of this."""
_PROBE_BYTES = 128 << 20
_MEMINFO = Path("/proc/meminfo")
_DROP, _COMPACT = Path("/proc/sys/vm/drop_caches"), Path("/proc/sys/vm/compact_memory")


def look_microseconds() -> float:
    """Measure the time in µs to access a page that was accessed just before, on average."""
    with mmap.mmap(-1, _PROBE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
        places = range(0, _PROBE_BYTES, mmap.PAGESIZE)
        for place in places:
            pages[place] = 1
        # CPU time, because other processes may run in between.
        begin = time.process_time()
        for place in places:
            pages[place] = 2
        return (time.process_time() - begin) * 1e6 / len(places)


def cached_bytes(meminfo: str) -> int:
    """Return the size of the page cache in bytes from the text of ``/proc/meminfo``."""
    found = re.search(r"^Cached: +(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def heal() -> None:
    """Drop the page cache if it is large or memory is slow, and this process is permitted to."""
    if not all(os.access(lever, os.W_OK) for lever in (_DROP, _COMPACT)):
        return
    slow = look_microseconds()
    cached = cached_bytes(_MEMINFO.read_text(encoding="ascii"))
    if slow < SLOW_MICROSECONDS and cached < MOST_CACHED:
        return
    with step(f"dropping {cached / 1e9:.1f} GB of page cache, memory takes {slow:.2f} µs a page"):
        os.sync()
        _DROP.write_text("3", encoding="ascii")
        if slow >= SLOW_MICROSECONDS:
            _COMPACT.write_text("1", encoding="ascii")
    say(f"memory takes {look_microseconds():.2f} µs a page")


if __name__ == "__main__":
    heal()
