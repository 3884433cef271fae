"""
Python programs that start in milliseconds: forked from one that has loaded their modules already.

Loading takes most of what a short run of a program costs. ``tests/forkserver.py`` does it once in
each process of pytest; what is forked from it is otherwise as good as new. What it does not show
is how the program itself loads, and how much memory it takes: tests of that start a new one.
"""

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

_SERVER = Path(__file__).with_name("forkserver.py")

File = int | IO[bytes] | socket.socket


class Process(Protocol):
    """As much of a process as tests need, however it was started."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def returncode(self) -> int | None:
        """How it ended: with an exit code, or by a signal if negative."""

    async def wait(self) -> int:
        """Wait for its end."""

    def send_signal(self, signal: int) -> None:
        """Send it a signal, unless it has ended."""

    def kill(self) -> None:
        """Kill it, unless it has ended."""


class Forked:
    """A process that was forked."""

    def __init__(self, pid: int, report: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._end = asyncio.create_task(self._wait(report))

    async def _wait(self, report: socket.socket) -> int:
        with report:
            self.returncode = await _hear(report)
        return self.returncode

    async def wait(self) -> int:
        """Wait for its end."""
        return await asyncio.shield(self._end)

    def send_signal(self, signal: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, signal)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Forks command lines of Python; begins, once it is needed, with loading modules."""

    def __init__(self, code: str, path: Path, env: Mapping[str, str] | None = None) -> None:
        """
        ``code`` loads the modules, which are found in ``path``.

        ``env`` is what they see while they are loaded, if it is not this process's own.
        """
        self._code = code
        self._path = path
        self._env = env
        self._orders: socket.socket | None = None

    async def fork(
        self,
        *command: str,
        env: Mapping[str, str],
        stdout: File,
        stderr: File,
        stdin: File | None = None,
    ) -> Forked:
        """Do what ``python COMMAND`` does, in a session of its own; it reads nothing by default."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            order = {"command": command, "env": dict(env), "folder": str(Path.cwd())}
            self._send(order, stdin, stdout, stderr, theirs)
        try:
            return Forked(await _hear(ours), ours)
        except BaseException:
            ours.close()
            raise

    def _send(self, order: dict[str, Any], stdin: File | None, *others: File) -> None:
        with Path(os.devnull).open("rb") as nothing:
            files = [_number(one) for one in (nothing if stdin is None else stdin, *others)]
            socket.send_fds(self._begun(), [json.dumps(order).encode()], files)

    def _begun(self) -> socket.socket:
        if self._orders is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                server = subprocess.Popen(
                    [sys.executable, "-P", str(_SERVER), str(theirs.fileno()), self._code],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
                    env={**(os.environ if self._env is None else self._env),
                         "PYTHONPATH": str(self._path)},
                    pass_fds=[theirs.fileno()],
                )  # fmt: skip
            self._orders = ours
            atexit.register(self._end, server)
        return self._orders

    def _end(self, server: "subprocess.Popen[bytes]") -> None:
        if self._orders is not None:
            self._orders.close()
        with suppress(subprocess.TimeoutExpired):
            server.wait(10)


def _number(file: File) -> int:
    return file if isinstance(file, int) else file.fileno()


async def _hear(report: socket.socket) -> int:
    said = await asyncio.get_running_loop().sock_recv(report, 16)
    if not said:
        raise RuntimeError("the fork server has ended")
    return int(said)


Started = TypeVar("Started", bound=Process)


@asynccontextmanager
async def ended(starting: Awaitable[Started]) -> AsyncIterator[Started]:
    """Start the first process of a session; in the end neither it nor its group is left."""
    process = await starting
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
