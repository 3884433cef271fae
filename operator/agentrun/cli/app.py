"""The commands, and how their ends look: help, usage errors, and problems as one line."""

import sys
from typing import Annotated

import httpx2
import typer

from agentrun import __version__
from agentrun.cli.commands.mcp import mcp
from agentrun.cli.options import with_connection
from agentrun.cli.problems import CliError

app = typer.Typer(
    name="agentrun",
    help="Run coding agents on Kubernetes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("mcp")(with_connection(mcp))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"agentrun {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Options of all commands."""


def main() -> None:
    """Run a command: 0 if it did its work, 1 if it could not, 2 if it was called wrongly."""
    try:
        app()
    except CliError as error:
        _end(str(error))
    except httpx2.HTTPError as error:
        _end(f"the connection to AgentRun broke: {error or type(error).__name__}; try again")


def _end(message: str) -> None:
    sys.stderr.write(f"agentrun: {message}\n")
    sys.exit(1)
