"""The command tree and its error handling: help, usage errors, and one-line error messages."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import httpx2
import typer

from agentrun import __version__
from agentrun.cli import exits
from agentrun.cli.commands import agents, artifacts, events, profiles, runs, start
from agentrun.cli.commands.mcp import mcp
from agentrun.cli.options import with_connection
from agentrun.cli.problems import CliError
from agentrun.cli.terminal import printable_streams


def _group(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)


app = typer.Typer(
    name="agentrun",
    help="Run coding agents on Kubernetes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _command in (("ask", start.ask), ("run", start.run), ("review", start.review)):
    app.command(_name)(with_connection(_command))
GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "runs": (
        "Show, answer, cancel and repeat runs.",
        {
            "list": runs.list_, "show": runs.show, "diff": artifacts.diff,
            "continue": runs.continue_, "cancel": runs.cancel, "wait": runs.wait,
            "again": runs.again,
        },
    ),
    "events": ("Read the events of runs.", {"tail": events.tail}),
    "artifacts": ("Read the fields that are too large for an event.", {"get": artifacts.get}),
    "agents": (
        "Show agents, and send them messages.",
        {"list": agents.list_, "send": agents.send, "inbox": agents.inbox},
    ),
    "profiles": ("Show the profiles that runs can use.", {"list": profiles.list_}),
}  # fmt: skip
for _name, (_text, _commands) in GROUPS.items():
    _made = _group(_text)
    for _verb, _command in _commands.items():
        _made.command(_verb)(with_connection(_command))
    app.add_typer(_made, name=_name)
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
    """Run a command. ``exits`` defines the exit codes."""
    with printable_streams():
        _run()


def _run() -> None:
    try:
        app(prog_name=_program())
    except CliError as error:
        _end(str(error))
    except httpx2.HTTPError as error:
        _end(f"the connection to AgentRun broke: {str(error) or type(error).__name__}; try again")
    except KeyboardInterrupt:
        sys.exit(exits.INTERRUPTED)
    except BrokenPipeError:
        # The reader closed the pipe, as in `agentrun runs diff RUN | head`.
        sys.stderr.close()
        sys.exit(exits.OK)


def _program() -> str:
    """Return the program name for help texts: kubectl finds its plugins by their names."""
    is_plugin = Path(sys.argv[0]).name == "kubectl-agentrun"
    return "kubectl agentrun" if is_plugin else "agentrun"


def _end(message: str) -> None:
    sys.stderr.write(f"agentrun: {' '.join(message.split())}\n")
    sys.exit(exits.PROBLEM)
