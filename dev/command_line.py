"""
Generates the ``--help`` texts of all commands in docs/cli.md.

    python -m dev.command_line docs/cli.md

The part between the two marks is replaced; the rest of the page is written manually. The
connection options are the same for every command, so they are shown once.
"""

import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from agentrun.cli.app import app
from agentrun.cli.options import ConnectionOptions

BEGIN, END = "<!-- begin: commands -->", "<!-- end: commands -->"
_WIDTH = 96
_CONNECTION = {field.name for field in fields(ConnectionOptions)}


def reference() -> str:
    """Return the generated part of the page."""
    parts = [_section(name, _help(name, command, False)) for name, command in commands()]
    [ask] = [command for name, command in commands() if name == "agentrun profiles list"]
    shared = _help("agentrun …", ask, True).partition("Options:\n")[2]
    parts.append(f"### Of every command: which AgentRun\n\n```text\n{shared}\n```")
    return "\n\n".join(parts)


def fill(page: str) -> str:
    """Return the page with its generated part replaced."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{rest.partition(END)[2]}"


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name."""
    return _below("agentrun", typer.main.get_command(app))


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for verb, one in inner.items():
        yield from _below(f"{name} {verb}", one)


def _help(name: str, command: Any, connection: bool) -> str:
    kept = command.params
    command.params = [
        one
        for one in kept
        if (one.name in _CONNECTION) == connection or one.param_type_name == "argument"
    ]
    try:
        context = command.make_context(
            name,
            [],
            resilient_parsing=True,
            max_content_width=_WIDTH,
            help_option_names=["-h", "--help"],
        )
        context.terminal_width = _WIDTH
        text: str = command.get_help(context)
    finally:
        command.params = kept
    return "\n".join(line.rstrip() for line in text.splitlines())


def _section(name: str, text: str) -> str:
    return f"### {name}\n\n```text\n{text}\n```"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(fill(file.read_text(encoding="utf-8")), encoding="utf-8")
