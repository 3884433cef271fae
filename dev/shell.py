"""Runs other programs, and reports progress."""

import fcntl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class DevError(Exception):
    """An error for the developer, shown without a traceback."""


def say(message: str) -> None:
    """Print a line and flush it, also into a pipe."""
    print(message, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print ``title``, and how long the block took."""
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
    """Hold a file's lock, which serializes processes that do the same work."""
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
    """Run ``command`` and return its stdout. Raises DevError with the output if it fails."""
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
    """Run ``command`` and return its result, whether it fails or not."""
    feed = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    try:
        return subprocess.run(
            list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, **feed
        )
    except FileNotFoundError as error:
        raise DevError(f"{command[0]} is not installed: run `python -m dev tools`") from error


def wait_until(what: str, is_so: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for ``is_so``. Raises DevError, which names ``what``, after ``seconds``."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise DevError(f"{what}: not so after {seconds:.0f} s")
        time.sleep(0.1)
