"""
The terminal output path, through which everything that the program writes passes.

Text from agents, the cluster and servers is shown in results, errors, logs, tables and tracebacks.
So the streams themselves escape terminal control characters, and no caller has to remember it. Only
``Screen`` writes to the underlying streams: it adds its own colours around text, and passes bytes
through to a file or a pipe.
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
    """A text stream that escapes terminal control characters."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        """The underlying stream."""

    def write(self, text: str) -> int:
        """Write ``text``, escaped as needed."""
        self.stream.write(printable(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of ``lines``."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def printable_streams() -> Iterator[None]:
    """Replace stdout and stderr with ``PrintableStream`` while the block runs."""
    before: tuple[TextIO, TextIO] = sys.stdout, sys.stderr
    out, err = (PrintableStream(beneath(stream)) for stream in before)
    sys.stdout, sys.stderr = out, err
    yield
    # After an exception they stay in place: its traceback is written later.
    sys.stdout, sys.stderr = before


def beneath(stream: Any) -> TextIO:
    """Return the underlying stream of a ``PrintableStream``, or the stream itself."""
    found: TextIO = stream.stream if isinstance(stream, PrintableStream) else stream
    return found


def open_console(stream: Any) -> Console:
    """Create a console on a stream. Only the console's own styles reach a terminal unescaped."""
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
    """Serialize to JSON with terminal control characters as ``\\u`` escapes."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(_json_character, text))


def _json_character(character: str) -> str:
    # Outside of strings, JSON contains only ASCII and line feeds.
    if character == "\n" or printable(character) == character:
        return character
    code = ord(character)
    if code < _BEYOND_16_BITS:
        return f"\\u{code:04x}"
    high, low = divmod(code - _BEYOND_16_BITS, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


class _Hook(RenderHook):
    """A Rich hook that escapes renderables before they are written."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Wrap each renderable."""
        return [_Printable(one) for one in renderables]


class _Printable:
    def __init__(self, what: ConsoleRenderable) -> None:
        self._what = what

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._what, options):
            yield Segment(text if control else printable(text), style, control)
