"""
Whose turn it is on a cluster that several test processes use.

What takes a part of the cluster itself away (the API server, containerd) would fail everybody's
tests, so it has the cluster to itself; all other tests go on side by side.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev import shell


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """
    Wait for a turn and hold it: beside other turns, or alone.

    Turns are given in the order in which they are asked for: who wants to be alone waits for those
    that are held, and for none that is asked for later.
    """
    with (folder / "turns.lock").open("w", encoding="ascii") as held:
        with shell.alone(folder / "next-turn.lock"):
            fcntl.flock(held, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        # Closing the file gives the turn back.
        yield
