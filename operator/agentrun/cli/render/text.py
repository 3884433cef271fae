"""
Text, times, durations and tables, made safe and short for a terminal.

Tables truncate only the last column, so that ids can always be copied.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from agentrun.api.printable import printable

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def line_of(text: str, width: int = 120) -> str:
    """Return the beginning of ``text`` on one line, at most ``width`` characters."""
    short = " ".join(printable(text).split())
    return short if len(short) <= width else short[: width - 1].rstrip() + "…"


def parse_time(timestamp: str | None) -> datetime | None:
    """Parse a timestamp of the MCP server; None if there is none or it is invalid."""
    try:
        return datetime.fromisoformat(timestamp) if timestamp else None
    except ValueError:
        return None


def seconds_between(start: str | None, end: str | None, now: datetime) -> float | None:
    """Return the seconds from ``start`` to ``end``, or until ``now`` if there is no end."""
    begun = parse_time(start)
    if begun is None:
        return None
    return max(0.0, ((parse_time(end) or now) - begun).total_seconds())


def duration(seconds: float | None) -> str:
    """Format a duration with its two largest units: `8s`, `2m 10s`, `3h 4m`, `2d 5h`."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def age(timestamp: str | None, now: datetime) -> str:
    """Format the age of a timestamp in one unit, as kubectl does."""
    return duration(seconds_between(timestamp, None, now)).split(" ")[0]


def clock(timestamp: str) -> str:
    """Return a timestamp's local time of day."""
    at = parse_time(timestamp)
    return at.astimezone().strftime("%H:%M:%S") if at else " " * 8


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


_GAP = 2
_LEAST = 16
"""The minimum width of the last column; it is omitted if less remains."""


class Columns:
    """Aligned rows below a header, without rules."""

    def __init__(self, *head: str) -> None:
        self._rows = [[Text(name, style="bold") for name in head]]

    def add(self, *cells: str | Text) -> None:
        """Add a row."""
        self._rows.append([cell if isinstance(cell, Text) else Text(cell) for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table for a terminal of any width."""
        *fixed, _ = zip(*self._rows, strict=True)
        widths = [max(cell_len(cell.plain) for cell in column) for column in fixed]
        left = options.max_width - sum(widths) - _GAP * len(widths)
        for row in self._rows:
            yield _line(row, widths, left)


def _line(row: Sequence[Text], widths: Sequence[int], left: int) -> Text:
    *fixed, last = row
    line = Text(no_wrap=True, overflow="ignore")
    for cell, width in zip(fixed, widths, strict=True):
        line.append_text(cell)
        line.append(" " * (width - cell_len(cell.plain) + _GAP))
    if left >= _LEAST:
        last = last.copy()
        last.truncate(left, overflow="ellipsis")
        line.append_text(last)
    line.rstrip()
    return line
