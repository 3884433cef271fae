"""Tables that truncate only the last column, so that ids can always be copied."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

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
