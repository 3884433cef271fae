"""
The memory of a virtual machine, before times are measured on it.

A host gives a machine no more memory than the machine uses, and takes back what it has not looked
at for long: then a look at a page waits, 20 µs were measured in the place of 0.05, and everything
is three to seven times slower, though nothing else runs. Most of what a machine uses that has run
for long is its page cache, of files that nobody reads again: images, once they are unpacked.
Letting go of it, and moving together what is left, heals that in seconds.
"""

import mmap
import os
import re
import time
from pathlib import Path

from dev.shell import say, step

SLOW_MICROSECONDS = 1.0
"""From here on much of a program's time is waiting for its memory; a healthy machine takes 0.1."""
MOST_CACHED = 4 << 30
"""What the tests read again and again is a fourth of it."""
_PROBE_BYTES = 128 << 20
_MEMINFO = Path("/proc/meminfo")
_DROP, _COMPACT = Path("/proc/sys/vm/drop_caches"), Path("/proc/sys/vm/compact_memory")


def look_microseconds() -> float:
    """Measure how long a look at a page takes that was looked at just before, of many."""
    with mmap.mmap(-1, _PROBE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
        places = range(0, _PROBE_BYTES, mmap.PAGESIZE)
        for place in places:
            pages[place] = 1
        # Of the CPU, for others may have it meanwhile.
        begin = time.process_time()
        for place in places:
            pages[place] = 2
        return (time.process_time() - begin) * 1e6 / len(places)


def cached_bytes(meminfo: str) -> int:
    """Read from ``/proc/meminfo`` how large the page cache is."""
    found = re.search(r"^Cached: +(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def heal() -> None:
    """Let go of the page cache if it is large, or memory slow, and this process may."""
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
