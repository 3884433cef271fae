"""
A readers-writer lock on a cluster that several test processes use.

A test that takes a part of the cluster itself away (the API server, containerd) would fail all
other tests, so it runs alone; all others run concurrently.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev import shell


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """
    Hold the lock during the block: shared, or exclusively if ``alone``.

    The lock is granted in the order of the requests: an exclusive one waits for the current
    holders, and for none that comes later.
    """
    with (folder / "turns.lock").open("w", encoding="ascii") as held:
        with shell.alone(folder / "next-turn.lock"):
            fcntl.flock(held, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        # Closing the file releases the lock.
        yield
