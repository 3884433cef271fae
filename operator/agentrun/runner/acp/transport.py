"""
ACP's messages on the agent's pipes.

The ACP library would start a task for every message, without a limit. Here updates are processed
one by one, in order, before the next line is read, and requests wait until earlier ones are
answered. An agent that sends more than can be stored is blocked by its own full pipe.
"""

import asyncio
import io
import json
import logging
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from agentrun.api.v1alpha1 import Reason
from agentrun.runner.acp.large import MAX_REST, TooMuchStructureError, read_large, remove
from agentrun.runner.journal.large_text import LargeText, with_previews
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.outcome import AttemptError
from agentrun.runner.pipe_reader import LineTooLongError, PipeReader, write_all
from agentrun.runner.untrusted_json import is_deep, read_json

MAX_REQUESTS = 32
"""The maximum number of unanswered requests of the agent."""
_NOISE_BOUND = 100
_NOISE = 200
_INTERNAL_ERROR = -32603
_NO_ANSWER_WANTED = "$/cancel_request"
"""What agents send about a request that the cancelled prompt turn has answered."""

log = logging.getLogger(__name__)

Message = dict[str, Any]
OnUpdate = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True)
class TransportContext:
    """The transport's dependencies."""

    redactor: Redactor
    new_file: Callable[[], Path]
    """Returns a new path for data that is too large to hold in memory."""
    room: Callable[[], Awaitable[None]]
    """Waits until the journal has room for the agent's next messages."""


class PipeTransport:
    """A Transport of the ACP library, between two pipes."""

    def __init__(
        self, reader: PipeReader, stdin: int, on_update: OnUpdate, around: TransportContext
    ) -> None:
        self._reader = reader
        self._stdin = stdin
        self._on_update = on_update
        self._around = around
        self._noise = 0
        self._sending = asyncio.Lock()
        self._requests = asyncio.Semaphore(MAX_REQUESTS)
        self.ignored = ""
        """The beginning of the last line that was not a message, redacted."""
        self.fault: AttemptError | None = None
        """Why nothing is read any more; None while reading continues."""

    async def send(self, message: Message) -> None:
        """Send a message to the agent."""
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        # Concurrent writes would mix their lines.
        async with self._sending:
            await write_all(self._stdin, line)
        if "method" not in message:
            self._requests.release()

    async def receive(self) -> Message | None:
        """Return the agent's next message that is not an update; None at the end."""
        while not self.fault:
            try:
                message = await self._next()
            except LineTooLongError as error:
                self._break(f"{error}")
            except TooMuchStructureError:
                self._break(
                    f"a message holds more than {MAX_REST} bytes, not counting its long texts"
                    " and large structures"
                )
            except OSError as error:
                text = f"The runner could not store the agent's output: {error}"
                self.fault = AttemptError(Reason.RUNNER_FAILED, text)
            else:
                return message
        return None

    async def _next(self) -> Message | None:
        while not self.fault:
            await self._around.room()
            try:
                line = await self._reader.readline()
            except LineTooLongError:
                message = await self._receive_long()
            else:
                if line is None:
                    return None
                message = await self._receive(line)
            if message is not None:
                if "method" in message and "id" in message:
                    await self._wait_for_answers()
                return message
        return None

    async def _wait_for_answers(self) -> None:
        """Wait until fewer than MAX_REQUESTS requests are unanswered, or the output has ended."""
        acquired = asyncio.ensure_future(self._requests.acquire())
        ended = asyncio.ensure_future(self._reader.ended())
        try:
            await asyncio.wait({acquired, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            acquired.cancel()
            ended.cancel()

    async def _receive(self, line: bytes) -> Message | None:
        """Parse a line; return its message, unless it was an update."""
        line = line.removeprefix(BOM_UTF8)
        if not line.strip():
            return None
        if is_deep(line):
            return await self._receive_large(io.BytesIO(line), line)
        try:
            message = read_json(line)
        except ValueError:
            message = None
        return await self._sort(message, line)

    async def _receive_long(self) -> Message | None:
        path = self._around.new_file()
        try:
            await self._reader.store(path)
            with path.open("rb") as file:
                beginning = file.read(_NOISE)
                start = len(BOM_UTF8) if beginning.startswith(BOM_UTF8) else 0
                if not beginning[start:].lstrip().startswith(b"{"):
                    return await self._sort(None, beginning)
                file.seek(start)
                return await self._receive_large(file, beginning)
        finally:
            remove([path])

    async def _receive_large(self, file: BinaryIO, beginning: bytes) -> Message | None:
        files: list[Path] = []
        try:
            around = self._around
            try:
                message, files = await read_large(file, around.redactor, around.new_file)
            except ValueError:
                message = None
            return await self._sort(message, beginning)
        finally:
            remove(files)

    async def _sort(self, message: Any, line: bytes) -> Message | None:
        """Process an update, ignore what is not a message, and return everything else."""
        if not isinstance(message, dict) or isinstance(message.get("id"), (dict, list, LargeText)):
            self._ignore(line)
            return None
        if message.get("method") == _NO_ANSWER_WANTED:
            return None
        if message.get("method") != "session/update":
            # The files of its large texts are removed before the message is used.
            known = {key: with_previews(item, _shortened) for key, item in message.items()}
            return _with_error(known)
        update = _update_of(message)
        if update is not None:
            await self._take(update)
        return None

    async def _take(self, update: Message) -> None:
        try:
            await self._on_update(update)
        except OSError:
            raise
        except Exception:  # an invalid update must not fail the run
            log.exception("An update could not be turned into events")

    async def close(self) -> None:
        """Do nothing: the pipes belong to the runner."""

    def _ignore(self, line: bytes) -> None:
        """Ignore a line that is not a message, up to _NOISE_BOUND lines."""
        self._noise += 1
        # Truncated after redaction, or half of a secret would be left.
        shown = self._around.redactor.text(line[: 16 * _NOISE].decode(errors="replace"))[:_NOISE]
        self.ignored = shown
        if self._noise <= _NOISE_BOUND:
            log.warning("The agent's output contains a line that is not a message: %r", shown)
            return
        self._break(
            f"{self._noise} lines of its output are not messages; the last one is {shown!r}"
        )

    def _break(self, how: str) -> None:
        self.fault = AttemptError(Reason.PROTOCOL_ERROR, f"The agent broke the protocol: {how}.")


def _update_of(message: Message) -> Message | None:
    params = message.get("params")
    update = params.get("update") if isinstance(params, dict) else None
    return update if isinstance(update, dict) else None


def _with_error(message: Message) -> Message:
    """Return a message whose error, if it has one, has the types of JSON-RPC."""
    error = message.get("error")
    if error is None or "result" in message:
        return message
    given = error if isinstance(error, dict) else {"message": error}
    code, text = given.get("code"), given.get("message")
    known = {
        "code": code if isinstance(code, int) else _INTERNAL_ERROR,
        "message": text if isinstance(text, str) else json.dumps(text, ensure_ascii=False),
    }
    return {**message, "error": {**given, **known}}


def _shortened(text: LargeText) -> str:
    return f"{text.preview}\n[... {text.left_out} characters left out ...]"
