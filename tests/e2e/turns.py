"""
A readers-writer lock on a cluster that several test processes use.

A test that takes a part of the cluster itself away (the API server, containerd) would fail all
other tests, so it runs alone; all others run concurrently.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """
    Hold the lock during the block: shared, or exclusively if ``alone``.

    The lock is granted in the order of the requests: an exclusive one waits for the current
    holders, and for none that comes later.
    """
    with _opened(folder / "turns.lock") as held:
        with _opened(folder / "next-turn.lock") as place:
            fcntl.flock(place, fcntl.LOCK_EX)
            fcntl.flock(held, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextmanager
def _opened(lock: Path) -> Iterator[int]:
    # Closing a file releases its lock.
    with lock.open("w", encoding="ascii") as file:
        yield file.fileno()
