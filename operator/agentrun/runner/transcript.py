"""
The output of ``kubectl logs -c runner``: a human-readable transcript of the run.

Every line begins with the time since the start. Long output is cut to its last lines, where the
result is; the journal holds the complete output.
"""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from agentrun.api.events import EventType
from agentrun.api.printable import printable

_MAX_LINES = 25
_MAX_LINE = 400
_INDENT = " " * 11


class Transcript:
    """Writes the transcript. The texts that it receives contain no secrets."""

    def __init__(
        self, out: TextIO = sys.stdout, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._out = out
        self._clock = clock
        self._begin = clock()

    def log(self, mark: str, text: str) -> None:
        """Write a text after its mark; further lines are indented."""
        minutes, seconds = divmod(self._clock() - self._begin, 60)
        lines = [printable(line[:_MAX_LINE]) for line in text.rstrip().splitlines()] or [""]
        if len(lines) > _MAX_LINES:
            left_out = len(lines) - _MAX_LINES
            lines = [f"... {left_out} lines above ...", *lines[-_MAX_LINES:]]
        head = f"{int(minutes):3d}:{seconds:04.1f}  {mark} {lines[0]}".rstrip()
        self._out.write("\n".join([head, *(f"{_INDENT}  {line}" for line in lines[1:])]) + "\n")
        self._out.flush()

    def event(self, kind: EventType, data: dict[str, Any]) -> None:
        """Write an event, if it is of interest to a person."""
        line = describe(kind, data)
        if line:
            self.log(*line)


def describe(kind: EventType, data: dict[str, Any]) -> tuple[str, str] | None:
    """Return the mark and the text of an event; None for events that only programs use."""
    if kind is EventType.TOOL_FINISHED and not data.get("is_error"):
        return None
    renderer = _RENDERERS.get(kind)
    return (renderer[0], renderer[1](data)) if renderer else None


def _changes(data: dict[str, Any]) -> str:
    return ", ".join(f"{one.get('kind')} {one.get('path')}" for one in data.get("changes") or [])


def _plan(data: dict[str, Any]) -> str:
    items = data.get("items") or []
    boxes = (f"[{'x' if one.get('completed') else ' '}] {one.get('text')}" for one in items)
    return "plan\n" + "\n".join(boxes)


def _artifact(data: dict[str, Any]) -> str:
    size = f" ({data['size']} bytes)" if "size" in data else ""
    return f"artifact {data.get('name') or data.get('artifact_id')}{size}"


def _command_end(data: dict[str, Any]) -> str:
    code = data.get("exit_code")
    ended = "interrupted" if data.get("interrupted") else f"exit code {code}"
    if code is None and not data.get("interrupted"):
        ended = str(data.get("status") or "finished")
    output = str(data.get("output") or "").rstrip()
    return f"{output}\n({ended})" if output else f"({ended})"


_RENDERERS: dict[EventType, tuple[str, Callable[[dict[str, Any]], str]]] = {
    EventType.AGENT_MESSAGE: (">", lambda data: str(data.get("text", "")).strip()),
    EventType.REASONING: ("~", lambda data: str(data.get("text", "")).strip()),
    EventType.COMMAND_STARTED: ("$", lambda data: str(data.get("command", ""))),
    EventType.COMMAND_FINISHED: ("=", _command_end),
    EventType.TOOL_STARTED: ("*", lambda data: str(data.get("title") or data.get("tool"))),
    EventType.TOOL_FINISHED: (
        "*", lambda data: f"{data.get('tool')} failed: {data.get('output', '')}"
    ),
    EventType.FILE_CHANGED: ("#", _changes),
    EventType.TODO_UPDATED: ("-", _plan),
    EventType.ARTIFACT_ADDED: ("+", _artifact),
    EventType.AUTH_REQUIRED: ("!", lambda data: str(data.get("text") or "authentication required")),
}  # fmt: skip


class TranscriptHandler(logging.Handler):
    """Writes the runner's own warnings to the transcript."""

    def __init__(self, transcript: Transcript, clean: Callable[[str], str]) -> None:
        super().__init__(logging.WARNING)
        self._transcript = transcript
        self._clean = clean

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self._transcript.log("!", self._clean(self.format(record)))
