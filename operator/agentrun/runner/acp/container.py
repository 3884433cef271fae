"""
The agent's container, as its first process reports it.

That process, ``images/init``, connects to the runner's socket before any process of the agent
exists. Nothing else can send these messages: the socket's name is removed before the agent starts.
It also passes a descriptor of itself, with which the kernel reports its exit; and the first process
of a PID namespace ends after all others (docs/decisions/0020).
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

from agentrun.runner.pipes import Pipes
from agentrun.runner.tasks import cancel

_BEGIN, _STOP = b"b", b"s"
_LAST_WORD = b"end"
_CHUNK = 4096


class Container:
    """The agent's container. ``lines`` must be iterated while it is used."""

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._connection: socket.socket | None = None
        self._is_connected = asyncio.Event()
        self._has_begun = False
        self._is_to_end = False
        self._is_over = asyncio.Event()
        self._is_lost = asyncio.Event()

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield the lines from the container's first process, until it has ended."""
        loop = asyncio.get_running_loop()
        connection, _ = await loop.sock_accept(self._pipes.control)
        kernel = await _introduction(connection)
        # It has opened the socket and the FIFOs; no other process may.
        self._pipes.hide()
        if kernel is not None:
            loop.add_reader(kernel, self._on_end, kernel)
        try:
            self._connection = connection
            self._is_connected.set()
            if self._is_to_end:
                self._send(_STOP)
            buffer = b""
            while chunk := await _receive(connection):
                *whole, buffer = (buffer + chunk).split(b"\n")
                for line in whole:
                    if line == _LAST_WORD:
                        self._is_over.set()
                    yield line
            if kernel is None:
                self._is_lost.set()
            await self._is_over.wait()
        finally:
            self._connection = None
            connection.close()
            if kernel is not None:
                loop.remove_reader(kernel)
                os.close(kernel)

    async def begin(self) -> None:
        """Start the agent's program, once the container is connected. No-op after ``end``."""
        await self._is_connected.wait()
        if not self._is_to_end:
            self._has_begun = True
            self._send(_BEGIN)

    def end(self) -> None:
        """Kill all processes in the container. Idempotent; does nothing if it has ended."""
        self._is_to_end = True
        self._send(_STOP)

    async def ended(self) -> bool:
        """
        Wait until it is certain that no process of the agent is alive; only after ``end``.

        False if that can never be certain: the first process has ended without its final message,
        and its descriptor is not available.
        """
        if not self._has_begun:
            return True
        ways = [asyncio.ensure_future(event.wait()) for event in (self._is_over, self._is_lost)]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(*ways)
        return self._is_over.is_set()

    def _send(self, command: bytes) -> None:
        if self._connection is not None:
            # Disconnected, or full of earlier commands: in both cases this one is not needed.
            with suppress(BrokenPipeError, ConnectionResetError, BlockingIOError):
                self._connection.send(command)

    def _on_end(self, kernel: int) -> None:
        asyncio.get_running_loop().remove_reader(kernel)
        self._is_over.set()


async def _introduction(connection: socket.socket) -> int | None:
    """Receive the descriptor of the first process; None if its kernel does not provide one."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            flags = socket.MSG_CMSG_CLOEXEC
            _, descriptors, _, _ = socket.recv_fds(connection, len(b"init\n"), 1, flags)
        except BlockingIOError:
            ready = loop.create_future()
            loop.add_reader(connection, _wake, ready)
            try:
                await ready
            finally:
                loop.remove_reader(connection)
        except ConnectionResetError:
            return None
        else:
            return next(iter(descriptors), None)


async def _receive(connection: socket.socket) -> bytes:
    try:
        return await asyncio.get_running_loop().sock_recv(connection, _CHUNK)
    except ConnectionResetError:
        return b""


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
