"""
The way to the terminal: whatever the program writes passes here.

Texts of agents, of the cluster and of servers reach a person in answers, errors, logs, tables and
tracebacks. So it is the streams themselves that write as escapes what a terminal would obey, and
nobody who prints something has to think of it. Only ``Screen`` writes beneath them: it puts its own
colours around texts, and passes on bytes that go into a file or a pipe.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

from agentrun.api.printable import printable

_UNBOUNDED = 100_000
_BEYOND_16_BITS = 0x10000


class PrintableStream:
    """A text stream on which nothing is written that a terminal obeys."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        """The stream beneath."""

    def write(self, text: str) -> int:
        """Write ``text``, with escapes where they are needed."""
        self.stream.write(printable(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write some texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def printable_streams() -> Iterator[None]:
    """Have all that goes to stdout and stderr pass through a ``PrintableStream`` meanwhile."""
    before: tuple[TextIO, TextIO] = sys.stdout, sys.stderr
    out, err = (PrintableStream(beneath(stream)) for stream in before)
    sys.stdout, sys.stderr = out, err
    yield
    # After a failure they stay: its traceback is written when everything else has ended.
    sys.stdout, sys.stderr = before


def beneath(stream: Any) -> TextIO:
    """Return the stream that a ``PrintableStream`` writes to."""
    found: TextIO = stream.stream if isinstance(stream, PrintableStream) else stream
    return found


def open_console(stream: Any) -> Console:
    """Make a console on a stream, whose own colours alone reach a terminal as they are."""
    stream = beneath(stream)
    is_terminal = stream.isatty()
    console = Console(
        file=stream,
        force_terminal=is_terminal,
        width=None if is_terminal else _UNBOUNDED,
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.push_render_hook(_Hook())
    return console


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Write JSON that any terminal can show: what it would obey stands in it as ``\\u``."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(_json_character, text))


def _json_character(character: str) -> str:
    # Outside of strings, JSON has only ASCII and line feeds.
    if character == "\n" or printable(character) == character:
        return character
    code = ord(character)
    if code < _BEYOND_16_BITS:
        return f"\\u{code:04x}"
    high, low = divmod(code - _BEYOND_16_BITS, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


class _Hook(RenderHook):
    """A hook of Rich: whatever is printed is seen before it becomes characters."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Wrap what is to be printed."""
        return [_Printable(one) for one in renderables]


class _Printable:
    def __init__(self, what: ConsoleRenderable) -> None:
        self._what = what

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._what, options):
            yield Segment(text if control else printable(text), style, control)
