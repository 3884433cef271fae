"""Where answers go: stdout for what was asked for, stderr for what to do next."""

import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from agentrun.api.printable import printable
from agentrun.cli.terminal import beneath, json_text, open_console


class Output(StrEnum):
    """The forms of an answer."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"


OutputOption = Annotated[
    Output,
    typer.Option(
        "--output", "-o", help="text for people, json as a whole, jsonl an object per line."
    ),
]


class Screen:
    """The two streams of a command; colours and the terminal's width only on a terminal."""

    def __init__(self) -> None:
        self.out = open_console(sys.stdout)
        self.err = open_console(sys.stderr)

    @property
    def is_live(self) -> bool:
        """Whether a person watches the answer come."""
        return self.out.is_terminal and not self.out.is_dumb_terminal

    @property
    def can_ask(self) -> bool:
        """Whether a person can be asked something."""
        return sys.stdin.isatty() and sys.stdout.isatty()

    def show(self, what: RenderableType) -> None:
        """Print something for people."""
        self.out.print(what, soft_wrap=not self.out.is_terminal)

    def json(self, value: Any) -> None:
        """Print JSON for programs: readable as a whole."""
        _write(json_text(value, indent=2) + "\n")

    def jsonl(self, *values: Any) -> None:
        """Print JSON for programs: an object a line."""
        _write("".join(json_text(value) + "\n" for value in values))

    def note(self, text: str | Text) -> None:
        """Say something that is no part of the answer."""
        self.err.print(text, soft_wrap=True)

    def steps(self, steps: Iterable[tuple[str, str]]) -> None:
        """Say what to do next."""
        rows = list(steps)
        width = max((len(command) for command, _ in rows), default=0)
        for command, purpose in rows:
            self.note(Text(f"  {command:<{width}}   {purpose}", style="dim"))

    def line(self, what: RenderableType) -> None:
        """Print a line of the answer as long as it is, also on a terminal."""
        self.out.print(what, soft_wrap=True)

    def ask(self, prompt: str) -> None:
        """Print what stands before the place where a person types."""
        _write(printable(prompt))

    def pass_on(self, data: bytes) -> None:
        """Write bytes of somebody else: exactly these into a pipe, as text on a terminal."""
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
