"""
ACP's messages on the agent's pipes.

The library would start a task for every update, however fast they come. Here updates are handed
over one by one, in order, before the next line is read; everything else goes to the library.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from agentrun.api.v1alpha1 import Reason
from agentrun.runner.lines import LineReader, LineTooLong, write_all
from agentrun.runner.outcome import Failure

_NOISE_BOUND = 100

log = logging.getLogger(__name__)

OnUpdate = Callable[[dict[str, Any]], Awaitable[None]]


class PipeTransport:
    """A Transport of the ACP library, between two pipes."""

    def __init__(self, reader: LineReader, stdin: int, on_update: OnUpdate) -> None:
        self._reader = reader
        self._stdin = stdin
        self._on_update = on_update
        self._noise = 0
        self.fault: Failure | None = None
        """Why nothing is read any more, once that is so."""

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message to the agent."""
        await write_all(self._stdin, json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def receive(self) -> dict[str, Any] | None:
        """Return the agent's next message that is no update; None when there will be no more."""
        while not self.fault:
            try:
                line = await self._reader.readline()
            except LineTooLong as error:
                self.fault = Failure(
                    Reason.PROTOCOL_ERROR, f"The agent broke the protocol: {error}."
                )
                return None
            if line is None:
                return None
            message = self._parse(line)
            if message is None:
                continue
            if message.get("method") != "session/update":
                return message
            update = _update_of(message)
            if update is not None:
                await self._take(update)
        return None

    async def _take(self, update: dict[str, Any]) -> None:
        try:
            await self._on_update(update)
        except OSError as error:
            message = f"The runner could not keep what the agent said: {error}"
            self.fault = Failure(Reason.RUNNER_FAILED, message)
        except Exception:  # one odd update is no reason to lose a run
            log.exception("An update could not be turned into events: %.2000r", update)

    async def close(self) -> None:
        """Do nothing: the pipes belong to the runner."""

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        """Read a line. What is no message is somebody's print: passed over, but not for ever."""
        if not line.strip():
            return None
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if isinstance(message, dict):
            # An escaped half of a surrogate pair is JSON, but no text.
            scrubbed = _scrub(message) if b"\\ud" in line.lower() else message
            return scrubbed if isinstance(scrubbed, dict) else None
        self._noise += 1
        log.warning("The agent's output holds a line that is no message: %r", line[:200])
        if self._noise > _NOISE_BOUND:
            message = (
                f"The agent broke the protocol: {self._noise} lines of its output are no "
                f"messages, the last one is {line[:200]!r}."
            )
            self.fault = Failure(Reason.PROTOCOL_ERROR, message)
        return None


def _update_of(message: dict[str, Any]) -> dict[str, Any] | None:
    params = message.get("params")
    update = params.get("update") if isinstance(params, dict) else None
    return update if isinstance(update, dict) else None


def _scrub(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_scrub(key): _scrub(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrub(item) for item in value]
    return value
