"""
The client's side of the bridge: newline-delimited messages on stdin and stdout.

Both descriptors are detached from the rest of the process, so that nothing else (a kubeconfig's
credential plugin, a stray print) reads a message or writes between two. Blocking reads and writes
run in daemon threads that are never joined: the process can exit at any time.
"""

import asyncio
import json
import os
import queue
import threading
from collections.abc import AsyncIterator
from typing import Any

_PIECE = 64 * 1024


class Wire:
    """The pair of descriptors that carries the client's messages."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = reading
        self._writing = writing
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.gone = asyncio.Event()
        """Set when writing to the client fails because it no longer reads."""

    def start(self) -> None:
        """Start the reader and writer threads."""
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield the client's lines until the end of its input. Blank lines are skipped."""
        while (line := await self._lines.get()) is not None:
            if line.strip():
                yield line

    def send(self, message: str | dict[str, Any]) -> None:
        """Queue a message, given as an object or as serialized JSON."""
        text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
        self._answers.put(text.replace("\r", "").replace("\n", "").encode() + b"\n")

    def _read(self) -> None:
        rest = b""
        while piece := _read_some(self._reading):
            *lines, last = piece.split(b"\n")
            if lines:
                lines[0] = rest + lines[0]
                rest = last
                for line in lines:
                    self._notify(line)
            else:
                rest += last
        self._notify(None)

    def _write(self) -> None:
        while True:
            data = self._answers.get()
            try:
                while data:
                    data = data[os.write(self._writing, data) :]
            except OSError:
                self._call(self.gone.set)
                return

    def _notify(self, line: bytes | None) -> None:
        self._call(self._lines.put_nowait, line)

    def _call(self, what: Any, *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, *arguments)


def take_stdio() -> tuple[int, int]:
    """Detach stdin and stdout and return them. Stdin becomes empty; stdout goes to stderr."""
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return reading, writing


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _PIECE)
    except OSError:
        return b""
