"""A real terminal, and a simulated user who reads and types."""

import asyncio
import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.forked import Process

_CONTROLS = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07)")
CTRL_C, CTRL_D = "\x03", "\x04"


@dataclass
class Terminal:
    """A program that runs in a terminal of 100 columns."""

    process: Process
    descriptor: int
    raw: str = ""
    """All output, with its control sequences."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _read_to: int = 0
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    @property
    def text(self) -> str:
        """All output, without colours and other control sequences."""
        return _CONTROLS.sub("", self.raw).replace("\r", "")

    async def until(self, words: str, seconds: float = 90.0) -> str:
        """Read until ``words`` appear, and return the output up to there."""
        begin = self._read_to
        found = await self.matches(re.escape(words), seconds)
        return self.text[begin : found.start()]

    async def matches(self, pattern: str, seconds: float = 90.0) -> re.Match[str]:
        """Read until the pattern appears, and return its match."""
        compiled = re.compile(pattern)
        try:
            async with asyncio.timeout(seconds):
                while (found := compiled.search(self.text, self._read_to)) is None:
                    self._news.clear()
                    if self.process.returncode is not None and not self._read():
                        raise AssertionError(f"it ended without {pattern!r}:\n{self.text}")
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{pattern!r} did not come:\n{self.text}") from None
        self._read_to = found.end()
        return found

    def type(self, keys: str) -> None:
        """Type keys."""
        os.write(self.descriptor, keys.encode())

    async def ends(self, seconds: float = 90.0) -> int:
        """Wait for the program's end and return its exit code."""
        async with asyncio.timeout(seconds):
            code = await self.process.wait()
        self._read()
        return code

    def _read(self) -> bool:
        try:
            data = os.read(self.descriptor, 65536)
        except (BlockingIOError, OSError):
            data = b""
        self.raw += self._decoder.decode(data)
        self._news.set()
        return bool(data)


SETTINGS = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}


def terminal(
    command: Sequence[str], environment: Mapping[str, str]
) -> AbstractAsyncContextManager[Terminal]:
    """Run a program in a new terminal."""

    # The program must be the terminal's foreground process to receive Ctrl-C: setsid arranges that.
    def start(theirs: int) -> Awaitable[Process]:
        return asyncio.create_subprocess_exec(
            "setsid", "--ctty", "--wait", *command,
            stdin=theirs, stdout=theirs, stderr=theirs,
            env={**SETTINGS, **environment}, start_new_session=True,
        )  # fmt: skip

    return at_terminal(start)


@asynccontextmanager
async def at_terminal(start: Callable[[int], Awaitable[Process]]) -> AsyncIterator[Terminal]:
    """
    Start a program with a new terminal, as its foreground process.

    ``start`` is called with the descriptor of the program's end of the terminal.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    os.set_blocking(ours, False)
    try:
        process = await start(theirs)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    made = Terminal(process, ours)
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not made._read():
            loop.remove_reader(ours)

    loop.add_reader(ours, read)
    # Also wakes readers when the program ends: its final output may have come long before.
    ended = asyncio.create_task(process.wait())
    ended.add_done_callback(lambda _: made._news.set())
    try:
        yield made
    finally:
        loop.remove_reader(ours)
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await ended
        os.close(ours)
