"""
Python programs that start in milliseconds, forked from a process that has loaded their modules.

Loading modules takes most of the time of a short run of a program. ``tests/forkserver.py`` does it
once in each process of pytest; a forked program otherwise behaves like a new process. It does not
show how the program itself loads, nor how much memory it takes: tests of that start a new process.
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
    """The part of a process's interface that tests need, however it was started."""

    @property
    def pid(self) -> int:
        """The process id."""

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""

    async def wait(self) -> int:
        """Wait for its end, and return the exit code."""

    def send_signal(self, signal: int) -> None:
        """Send it a signal, unless it has ended."""

    def kill(self) -> None:
        """Kill it, unless it has ended."""


class Forked:
    """A forked process."""

    def __init__(self, pid: int, report: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._end = asyncio.create_task(self._wait(report))

    async def _wait(self, report: socket.socket) -> int:
        with report:
            self.returncode = await _hear(report)
        return self.returncode

    async def wait(self) -> int:
        """Wait for its end, and return the exit code."""
        return await asyncio.shield(self._end)

    def send_signal(self, signal: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, signal)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Forks Python command lines. Loads the modules at the first fork."""

    def __init__(self, code: str, path: Path, env: Mapping[str, str] | None = None) -> None:
        """
        Set the code that loads the modules.

        The modules are found in ``path``. ``env`` is the environment while they are loaded; the
        default is that of this process.
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
        """Run ``python COMMAND`` in a new session. By default stdin is empty."""
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
    """Start the leader of a session; neither it nor its process group is left at the end."""
    process = await starting
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
