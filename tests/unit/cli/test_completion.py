"""What a shell is offered when Tab is pressed."""

import os

import pytest

from tests.unit.cli.fake_server import FakeServer
from tests.unit.cli.programs import PROGRAM, called

ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}


async def completed(line: str, **more: str) -> str:
    environment = {
        **ENVIRONMENT,
        "_AGENTRUN_COMPLETE": "complete_bash", "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1), **more,
    }  # fmt: skip
    done = await called(*PROGRAM, env=environment)
    assert done.stderr == ""
    return done.stdout


async def test_commands_are_completed() -> None:
    assert (await completed("agentrun runs c")).split() == ["continue", "cancel"]


async def test_the_newest_runs_are_completed(fake: FakeServer) -> None:
    fake.add("run-1")
    fake.add("run-22", "failed")
    patient = {"AGENTRUN_URL": fake.url, "AGENTRUN_TOKEN": "t", "AGENTRUN_COMPLETION_SECONDS": "50"}
    found = await completed("agentrun runs show run-", **patient)
    assert found.split() == ["run-1", "run-22"]


async def test_without_an_mcp_server_completion_is_empty_and_silent() -> None:
    assert (await completed("agentrun runs show run-")).strip() == ""


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
async def test_kubectl_completes_the_same(words: list[str], offered: list[str]) -> None:
    done = await called("-m", "agentrun.cli.kubectl_complete", *words, env=ENVIRONMENT)
    *found, directive = done.stdout.split()
    assert (found, directive, done.stderr) == (offered, ":4", "")
