"""
Reads and writes the agent's pipes without blocking, and with limited memory.

asyncio's streams read ahead of their consumer and end at the first end of file. Here nothing is
read before it is requested, so an agent that writes faster than its output can be sent waits.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

MAX_LINE = 32 * 1024 * 1024
"""The largest line that an agent may write, in bytes."""
LONG_LINE = 256 * 1024
"""A larger line, in bytes, is not held in memory."""
_CHUNK = 64 * 1024


class LineTooLongError(Exception):
    """A line exceeds the limit."""


class PipeReader:
    """Lines from a pipe that has no end of file."""

    def __init__(self, fd: int, limit: int = LONG_LINE) -> None:
        self._fd = fd
        self._limit = limit
        self._buffer = bytearray()
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Let the reader end once the pipe is empty: its writer is gone."""
        self._ended.set()

    async def ended(self) -> None:
        """Wait until the pipe's writer is gone."""
        await self._ended.wait()

    async def readline(self) -> bytes | None:
        """
        Return the next line without its line end; None after the last line.

        Raises LineTooLongError if the line exceeds the limit: the part that has been read, and the
        rest, can be read with ``pieces``.
        """
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched)
            if end >= 0:
                return self._take(end)
            searched = len(self._buffer)
            if searched > self._limit:
                raise LineTooLongError(f"a line is longer than {self._limit} bytes")
            if not await self._more():
                return self._take(searched) or None

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the rest of the line, up to its end."""
        while True:
            end = self._buffer.find(b"\n")
            if end >= 0:
                yield self._take(end)
                return
            yield self._take(len(self._buffer))
            if not await self._more():
                return

    async def skip(self) -> bytes:
        """Skip the rest of the line, and return its beginning."""
        beginning = b""
        async for piece in self.pieces():
            beginning = beginning or piece[:_CHUNK]
        return beginning

    async def store(self, path: Path, limit: int = MAX_LINE) -> int:
        """Write the rest of the line to a file; return its size. LineTooLongError if larger."""
        size = 0
        with path.open("wb") as file:
            async for piece in self.pieces():
                size += len(piece)
                if size > limit:
                    message = f"a line of its output has {size} bytes or more"
                    raise LineTooLongError(f"{message}, beyond the limit of {limit}")
                file.write(piece)
        return size

    def _take(self, end: int) -> bytes:
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    async def _more(self) -> bool:
        """Wait for more data; False if there will be none."""
        while True:
            chunk = self._read()
            if chunk:
                self._buffer += chunk
                # A writer that never pauses must not block other coroutines.
                await asyncio.sleep(0)
                return True
            if self._ended.is_set():
                return False
            await self._wait()

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return b""

    async def _wait(self) -> None:
        """Wait until there is data to read, or the writer is gone."""
        loop = asyncio.get_running_loop()
        ready = asyncio.ensure_future(_ready(loop.add_reader, loop.remove_reader, self._fd))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()


async def write_all(fd: int, data: bytes) -> None:
    """Write ``data`` to a pipe, as fast as its reader reads."""
    loop = asyncio.get_running_loop()
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            await _ready(loop.add_writer, loop.remove_writer, fd)


async def _ready(add: Callable[..., None], remove: Callable[[int], bool], fd: int) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    add(fd, wake)
    try:
        await future
    finally:
        remove(fd)
