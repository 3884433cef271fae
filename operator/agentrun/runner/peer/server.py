"""
File-based transport of ``peer`` calls: requests and answers are files in one folder.

The agent can write to the folder, so its contents are untrusted: the folder is opened once, before
the agent starts, no link is followed, and the size and number of files are limited.
"""

import asyncio
import logging
import os
import re
import stat
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from agentrun.runner.pipe_reader import LineTooLongError, PipeReader
from agentrun.runner.pipes import Pipes

MAX_REQUEST = 192 * 1024
"""The maximum size of a call's arguments, in bytes."""
MAX_ANSWER = 512 * 1024
"""The maximum size of an answer, in bytes. The folder is in memory, and small."""
_SLOTS = 4
_QUEUE = 256
_READ_SECONDS = 10.0
"""The time an answer is retained for the command to read it."""
_KEPT = 256
"""The number of error answers retained for commands that did not read in time."""
_LINE = 256
_NAME = re.compile(rb"[0-9]{1,10}-[0-9]{1,4}")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """The command's output, which goes to standard error if the exit code is not 0."""

    text: str
    code: int = 0


_EXPIRED = Answer("Error: the answer was not read in time. Run the command again.", 1)


class PeerServer:
    """Receives and answers the agent's calls."""

    def __init__(self, pipes: Pipes, respond: Callable[[Sequence[str]], Awaitable[Answer]]) -> None:
        self._folder = pipes.calls
        self._calls = PipeReader(pipes.call, _LINE)
        self._respond = respond
        self._slots = asyncio.Semaphore(_SLOTS)
        # More than the slots: the pipe also carries, after the calls, which answers were read.
        self._queue = asyncio.Semaphore(_QUEUE)
        self._unread: dict[str, asyncio.Event] = {}
        self._expired: deque[str] = deque()

    async def serve(self) -> None:
        """Answer calls until cancelled, up to _SLOTS of them concurrently."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    line = await self._calls.readline() or b""
                except LineTooLongError:
                    await self._calls.skip()  # no call is as long as this line
                    continue
                if line[:1] == b"-" and _NAME.fullmatch(line[1:]):
                    self._note_read(line[1:].decode())
                elif _NAME.fullmatch(line):
                    await self._queue.acquire()
                    tasks.create_task(self._take(line.decode()))

    async def _take(self, name: str) -> None:
        try:
            async with self._slots:
                self._write(name, await self._answer(name))
                await self._store_answer(name)
        except OSError as error:
            # The folder is full, or the agent has replaced something in it.
            log.warning("A call of peer cannot be answered: %s", error)
        finally:
            self._queue.release()

    async def _store_answer(self, name: str) -> None:
        """
        Retain an answer until it is read or _READ_SECONDS have passed, so there are few of them.
        """
        read = self._unread.setdefault(name, asyncio.Event())
        try:
            async with asyncio.timeout(_READ_SECONDS):
                await read.wait()
        except TimeoutError:
            log.debug("The answer to call %s of peer was not read", name)
            self._expire(name)
        else:
            self._remove(name)
        finally:
            self._unread.pop(name, None)

    def _expire(self, name: str) -> None:
        """Replace an answer with an error: a delayed command would otherwise wait forever."""
        self._write(name, _EXPIRED)
        self._expired.append(name)
        if len(self._expired) > _KEPT:
            self._remove(self._expired.popleft())

    def _remove(self, name: str) -> None:
        # The agent can write to the folder, and may have removed the file.
        with suppress(FileNotFoundError):
            os.unlink(f"{name}.answer", dir_fd=self._folder)

    def _note_read(self, name: str) -> None:
        if name in self._unread:
            self._unread[name].set()
        elif name in self._expired:
            self._expired.remove(name)
            self._remove(name)

    async def _answer(self, name: str) -> Answer:
        arguments = self._read(name)
        if arguments is None:
            return Answer(f"Error: the arguments take more than {MAX_REQUEST} bytes.", 1)
        try:
            answer = await self._respond(arguments)
        except Exception as error:  # One call must not end all others.
            log.error("A call of peer failed", exc_info=error)
            return Answer(f"Error: the runner failed: {type(error).__name__}: {error}", 1)
        if len(answer.text.encode()) > MAX_ANSWER:
            text = f"Error: the answer takes more than {MAX_ANSWER} bytes. Ask with --limit 1."
            return Answer(text, 1)
        return answer

    def _read(self, name: str) -> list[str] | None:
        """Read and remove a request; None if it is too large."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=self._folder), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(f"{name} is no file")
            content = file.read(MAX_REQUEST + 1)
        os.unlink(name, dir_fd=self._folder)
        if len(content) > MAX_REQUEST:
            return None
        return content.decode(errors="replace").split("\0")[:-1]

    def _write(self, name: str, answer: Answer) -> None:
        new, folder = f"{name}.new", self._folder
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        text = answer.text.replace("\0", "\ufffd").rstrip("\n")
        with os.fdopen(os.open(new, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(f"{answer.code}\n{text}\n".encode(errors="replace"))
        os.rename(new, f"{name}.answer", src_dir_fd=folder, dst_dir_fd=folder)
