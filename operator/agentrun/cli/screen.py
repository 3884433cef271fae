"""Output of the commands: results on stdout, notes and next steps on stderr."""

import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from agentrun.api.printable import printable
from agentrun.cli.terminal import beneath, json_text, open_console


class OutputFormat(StrEnum):
    """The output formats."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"


OutputOption = Annotated[
    OutputFormat,
    typer.Option(
        "--output", "-o", help="text, json (one document) or jsonl (one object per line)."
    ),
]


class Screen:
    """A command's stdout and stderr. Colours and line widths apply only on a terminal."""

    def __init__(self) -> None:
        self.out = open_console(sys.stdout)
        self.err = open_console(sys.stderr)

    @property
    def is_live(self) -> bool:
        """Whether stdout is an interactive terminal."""
        return self.out.is_terminal and not self.out.is_dumb_terminal

    @property
    def can_ask(self) -> bool:
        """Whether the user can be prompted."""
        return sys.stdin.isatty() and sys.stdout.isatty()

    def show(self, what: RenderableType) -> None:
        """Print a result for people."""
        self.out.print(what, soft_wrap=not self.out.is_terminal)

    def json(self, value: Any) -> None:
        """Print a value as indented JSON."""
        _write(json_text(value, indent=2) + "\n")

    def jsonl(self, *values: Any) -> None:
        """Print values as JSON, one per line."""
        _write("".join(json_text(value) + "\n" for value in values))

    def note(self, text: str | Text) -> None:
        """Print a note that is not part of the result, on stderr."""
        self.err.print(text, soft_wrap=True)

    def steps(self, steps: Iterable[tuple[str, str]]) -> None:
        """Print the suggested next commands on stderr."""
        rows = list(steps)
        width = max((len(command) for command, _ in rows), default=0)
        for command, purpose in rows:
            self.note(Text(f"  {command:<{width}}   {purpose}", style="dim"))

    def line(self, what: RenderableType) -> None:
        """Print a line of the result without wrapping it, also on a terminal."""
        self.out.print(what, soft_wrap=True)

    def ask(self, prompt: str) -> None:
        """Print a prompt."""
        _write(printable(prompt))

    def pass_on(self, data: bytes) -> None:
        """Write untrusted bytes: unchanged into a pipe or file, as printable text on a terminal."""
        if self.out.is_terminal:
            _write(printable(data.decode(errors="replace")))
            return
        stream = beneath(sys.stdout)
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()


def _write(text: str) -> None:
    stream = beneath(sys.stdout)
    stream.write(text)
    stream.flush()
