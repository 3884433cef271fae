"""Rendering of events: a mark, a text and a style."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.containers import Lines
from rich.text import Text

from agentrun.api.printable import printable
from agentrun.cli.answers import Event
from agentrun.cli.render.text import clock, line_of

_MAX_LINES = 12
_MAX_LINE = 400
_INDENT = " " * 12
"""The width of the time of day and the mark."""


@dataclass(frozen=True)
class EventText:
    """The rendered content of an event."""

    mark: str
    text: str
    style: str = ""
    mark_style: str = ""


@dataclass(frozen=True)
class EventLine:
    """A rendered event: time, mark and text. Further lines are indented below the first."""

    head: Text
    body: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Wrap lines to the terminal's width; without a terminal, yield each line unchanged."""
        lines = self.body.split("\n", allow_blank=True)
        if not options.no_wrap:
            width = max(20, options.max_width - len(_INDENT))
            lines = Lines(part for line in lines for part in line.wrap(console, width) or [line])
        for number, line in enumerate(lines):
            yield Text.assemble(self.head if number == 0 else _INDENT, line)


def render_event(event: Event) -> EventLine | None:
    """Render an event; None if it is of use to programs only."""
    description = describe(event)
    if description is None or not description.text.strip():
        return None
    lines = printable(description.text).strip("\n").splitlines()
    if event.type not in _IN_FULL:
        lines = _bounded(lines)
    head = Text.assemble(
        (f"{clock(event.ts)}  ", "dim"),
        (description.mark, description.mark_style or description.style),
        " ",
    )
    return EventLine(head, Text("\n".join(lines), style=description.style))


def describe(event: Event) -> EventText | None:
    """Describe an event; None if it is of no interest to the user."""
    known = _RENDERERS.get(event.type)
    if known is not None:
        return known(event.data)
    if event.type in _SILENT:
        return None
    # An event type of a newer MCP server.
    return EventText("·", f"{event.type} {line_of(str(event.data.get('text') or ''))}", "dim")


def activity(event: Event) -> str | None:
    """Describe the agent's current activity in a few words, for the live line."""
    description = describe(event)
    if description is None or event.type == "status_changed":
        return None
    if event.type in ("command_finished", "tool_finished"):
        return "thinking"
    return f"{description.mark} {line_of(description.text, 60)}"


def _bounded(lines: list[str]) -> list[str]:
    cut = [line if len(line) <= _MAX_LINE else line[: _MAX_LINE - 1] + "…" for line in lines]
    if len(cut) <= _MAX_LINES:
        return cut
    return [f"… {len(cut) - _MAX_LINES} lines above …", *cut[-_MAX_LINES:]]


def _whole(
    mark: str, key: str, style: str = "", mark_style: str = ""
) -> Callable[[dict[str, Any]], EventText]:
    return lambda data: EventText(mark, str(data.get(key) or ""), style, mark_style)


def _message(data: dict[str, Any]) -> EventText:
    return EventText("●", str(data.get("text") or ""), "", "green")


def _status(data: dict[str, Any]) -> EventText | None:
    status, message = str(data.get("status")), data.get("message")
    if status in ("failed", "rejected"):
        return EventText("!", f"{status}: {message or data.get('reason') or ''}", "red")
    return EventText("=", f"{status}{f': {message}' if message else ''}", "dim")


def _command_end(data: dict[str, Any]) -> EventText | None:
    code, output = data.get("exit_code"), str(data.get("output") or "").rstrip()
    ended = "interrupted" if data.get("interrupted") else f"exit code {code}"
    is_good = code in (None, 0) and not data.get("interrupted")
    if is_good:
        return EventText(" ", output, "dim") if output else None
    return EventText("!", f"{output}\n({ended})" if output else ended, "red")


def _tool(data: dict[str, Any]) -> EventText:
    return EventText("*", str(data.get("title") or data.get("tool") or ""), "", "cyan")


def _tool_end(data: dict[str, Any]) -> EventText | None:
    if not data.get("is_error"):
        return None
    return EventText("!", f"{data.get('tool')} failed: {data.get('output') or ''}", "red")


def _changes(data: dict[str, Any]) -> EventText:
    changes = data.get("changes")
    rows = changes if isinstance(changes, list) else []
    named = [f"{one.get('kind') or ''} {one.get('path')}" for one in rows if isinstance(one, dict)]
    return EventText(
        "#", ", ".join(part.strip() for part in named) or "files changed", "", "magenta"
    )


def _plan(data: dict[str, Any]) -> EventText:
    items = [one for one in data.get("items") or [] if isinstance(one, dict)]
    boxes = (f"[{'x' if one.get('completed') else ' '}] {one.get('text')}" for one in items)
    return EventText("-", "\n".join(boxes), "", "blue")


def _artifact(data: dict[str, Any]) -> EventText:
    size = data.get("size")
    return EventText("+", f"{data.get('name')}{f' ({size} bytes)' if size else ''}", "", "magenta")


_RENDERERS: dict[str, Callable[[dict[str, Any]], EventText | None]] = {
    "agent_message": _message,
    "reasoning": _whole("~", "text", "dim"),
    "status_changed": _status,
    "command_started": _whole("$", "command", "bold", "cyan"),
    "command_finished": _command_end,
    "tool_started": _tool,
    "tool_finished": _tool_end,
    "file_changed": _changes,
    "todo_updated": _plan,
    "artifact_added": _artifact,
    "input_required": lambda data: EventText(
        "?", str(data.get("text") or "input required"), "yellow"
    ),
    "auth_required": lambda data: EventText(
        "?", str(data.get("text") or "authentication required"), "yellow"
    ),
    "rejected": lambda data: EventText("!", f"rejected: {data.get('message') or ''}", "red"),
    "run_failed": _whole("!", "message", "red"),
}
# The final answer, what the user must answer, and the failure.
_IN_FULL = frozenset({"agent_message", "input_required", "auth_required", "run_failed"})
# Redundant: other events carry the same information, such as the message or the status.
_SILENT = frozenset({"run_started", "run_completed", "command_updated", "message_added"})
