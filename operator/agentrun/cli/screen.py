"""Where answers go: stdout for what was asked for, stderr for what to do next."""

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text


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

_UNBOUNDED = 100_000


class Screen:
    """The two streams of a command; colours and the terminal's width only on a terminal."""

    def __init__(self) -> None:
        self.out = _console(sys.stdout)
        self.err = _console(sys.stderr)

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
        write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def jsonl(self, *values: Any) -> None:
        """Print JSON for programs: an object a line."""
        write("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))

    def note(self, text: str | Text) -> None:
        """Say something that is no part of the answer."""
        self.err.print(text, soft_wrap=True)

    def steps(self, steps: Iterable[tuple[str, str]]) -> None:
        """Say what to do next."""
        rows = list(steps)
        width = max((len(command) for command, _ in rows), default=0)
        for command, purpose in rows:
            self.note(Text(f"  {command:<{width}}   {purpose}", style="dim"))


def write(text: str | bytes) -> None:
    """Write exactly this to stdout."""
    stream = sys.stdout
    if isinstance(text, bytes):
        stream.flush()
        stream.buffer.write(text)
        stream.buffer.flush()
        return
    stream.write(text)
    stream.flush()


def _console(stream: Any) -> Console:
    is_terminal = stream.isatty()
    return Console(
        file=stream,
        force_terminal=is_terminal,
        width=None if is_terminal else _UNBOUNDED,
        highlight=False,
        markup=False,
        emoji=False,
    )
