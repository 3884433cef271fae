"""What a shell is offered when Tab is pressed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.fake_door import FakeDoor

ROOT = Path(__file__).parents[3]


def completed(line: str, **more: str) -> str:
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"), "HOME": "/nowhere",
        "_AGENTRUN_COMPLETE": "complete_bash", "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1), **more,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "agentrun.cli"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


def test_commands_are_offered() -> None:
    assert completed("agentrun runs c").split() == ["continue", "cancel"]


def test_the_newest_runs_are_offered(door: FakeDoor) -> None:
    door.add("run-1")
    door.add("run-22", "failed")
    patient = {"AGENTRUN_URL": door.url, "AGENTRUN_TOKEN": "t", "AGENTRUN_COMPLETION_SECONDS": "50"}
    found = completed("agentrun runs show run-", **patient)
    assert found.split() == ["run-1", "run-22"]


def test_nothing_is_offered_and_nothing_said_if_there_is_no_front_door() -> None:
    assert completed("agentrun runs show run-").strip() == ""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["runs", "c"], ["continue", "cancel"]),
        (["profiles", ""], ["list"]),
        (["agents", "list", "--out"], ["--output"]),
        (["agents", "send", ""], []),
    ],
    ids=str,
)
def test_kubectl_is_offered_the_same(words: list[str], offered: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agentrun.cli.kubectl_complete", *words],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"), "HOME": "/nowhere"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    *found, directive = done.stdout.split()
    assert (found, directive, done.stderr) == (offered, ":4", "")
