"""Call the command line in this process: its output, and how it ends."""

import re
import sys
from dataclasses import dataclass

from typer.testing import CliRunner

from agentrun.cli.app import app
from agentrun.cli.problems import CliError
from tests.unit.cli.fake_server import FakeServer


@dataclass
class Done:
    """The result of a command."""

    code: int
    out: str
    err: str


def call(fake: FakeServer, *arguments: str, stdin: str = "", **environment: str) -> Done:
    """Run a command against ``fake``; errors are handled as ``main`` does."""
    env = {
        "AGENTRUN_URL": fake.url, "AGENTRUN_TOKEN": "token", "COLUMNS": "100",
        "AGENTRUN_NAMESPACE": "", "AGENTRUN_BACKEND": "", "AGENTRUN_PROFILE": "",
    } | environment  # fmt: skip
    done = CliRunner().invoke(app, arguments, input=stdin, env=env)
    if isinstance(done.exception, CliError):
        return Done(8, done.stdout, f"{done.stderr}agentrun: {done.exception}\n")
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def plain(text: str) -> str:
    """Remove the control sequences of a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


PYTHON = sys.executable
