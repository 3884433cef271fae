"""Running other programs, and saying what is being waited for."""

import fcntl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class DevError(Exception):
    """Something the person at the terminal has to know; shown without a traceback."""


def say(message: str) -> None:
    """Print one line at once, even into a pipe."""
    print(message, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print ``title``, and how long the block under it took."""
    began = time.monotonic()
    print(f"{title} ...", end=" ", flush=True)
    try:
        yield
    except BaseException:
        say(f"failed after {time.monotonic() - began:.1f} s")
        raise
    say(f"{time.monotonic() - began:.1f} s")


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a file's lock: processes that do the same thing do it one after the other."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def run(
    command: Sequence[object],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Run ``command`` and return what it prints; what it said goes into the error if it fails."""
    done = attempt(command, cwd=cwd, env=env, stdin=stdin)
    if done.returncode != 0:
        words = " ".join(map(str, command))
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        raise DevError(f"`{words}` ended with {done.returncode}:\n{tail}")
    return done.stdout


def attempt(
    command: Sequence[object],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run ``command`` for its outcome, whatever that is."""
    feed = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    try:
        return subprocess.run(
            list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, **feed
        )
    except FileNotFoundError as error:
        raise DevError(f"{command[0]} is not installed: run `python -m dev tools`") from error


def wait_until(what: str, is_so: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for ``is_so``; the error names ``what`` was waited for."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise DevError(f"{what}: not so after {seconds:.0f} s")
        time.sleep(0.1)
