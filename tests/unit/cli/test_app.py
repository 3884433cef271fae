"""How commands end: with help, with a usage error, or with one line that says the problem."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.programs import PROGRAM, ROOT, called
from tests.waiting import LATE_SECONDS


def agentrun(
    *arguments: str, folder: Path, stdin: str | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "agentrun.cli", *arguments],
        env=environment(folder), input=stdin, capture_output=True, text=True, timeout=LATE_SECONDS,
    )  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH",)}
    return {**kept, "HOME": str(folder), "PYTHONPATH": str(ROOT / "operator"), "COLUMNS": "100"}


async def test_help_names_the_commands_and_their_options(tmp_path: Path) -> None:
    done = agentrun("--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mcp" in done.stdout
    done = await called(*PROGRAM, "mcp", "--help", env=environment(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("--context", "AGENTRUN_URL", "claude mcp add agentrun -- agentrun mcp"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("program", "name"), [("kubectl-agentrun", "kubectl agentrun"), ("agentrun", "agentrun")]
)
async def test_usage_shows_the_name_it_was_called_by(
    tmp_path: Path, program: str, name: str
) -> None:
    (tmp_path / program).write_text("from agentrun.cli.__main__ import main\nmain()\n")
    command = (str(tmp_path / program), "runs", "--help")
    done = await called(*command, env=environment(tmp_path))
    assert f"Usage: {name} runs" in done.stdout


@pytest.mark.parametrize("arguments", [["mcp", "--bogus"], ["no-such-command"], []], ids=str)
async def test_a_wrong_call_ends_with_2(tmp_path: Path, arguments: list[str]) -> None:
    done = await called(*PROGRAM, *arguments, env=environment(tmp_path))
    assert done.returncode == 2
    assert "Usage" in done.stderr + done.stdout


def test_a_problem_is_one_line_and_ends_with_8(tmp_path: Path) -> None:
    done = agentrun("mcp", "--check", folder=tmp_path)
    assert (done.returncode, done.stdout) == (8, "")
    assert done.stderr.startswith("agentrun: there is no kubeconfig at ")
    assert len(done.stderr.splitlines()) == 1


def test_a_problem_is_reported_to_the_client_too(tmp_path: Path) -> None:
    line = '{"jsonrpc": "2.0", "id": 1, "method": "initialize"}\n'
    with subprocess.Popen(
        [sys.executable, "-m", "agentrun.cli", "mcp"],
        env=environment(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as bridge:  # fmt: skip
        assert bridge.stdin is not None
        assert bridge.stdout is not None
        bridge.stdin.write(line)
        bridge.stdin.flush()
        assert "there is no kubeconfig at" in bridge.stdout.readline()
        bridge.send_signal(signal.SIGTERM)
        assert bridge.wait(60) == 128 + signal.SIGTERM


def test_end_of_stdin_ends_the_bridge(tmp_path: Path) -> None:
    assert agentrun("mcp", folder=tmp_path, stdin="").returncode == 0
