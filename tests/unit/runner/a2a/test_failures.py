"""What the catalogue of failures promises of remote agents, where all of it is up to the runner."""

import re
from pathlib import Path
from typing import Any

import pytest

from agentrun.runner.a2a.card import CARD_SECONDS
from dev.failures import find
from tests.unit.runner.harness import FakeGateway
from tests.unit.runner.remotes import Agents, asks, finish

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

LONGEST_MESSAGE = 4096
HELLO = ["say", "hello"]
WRONG: dict[str, tuple[str, list[Any]]] = {
    "remote-card-missing": ("nowhere", HELLO),
    "remote-card-moved": ("moved", HELLO),
    "remote-card-wrong": ("page", HELLO),
    "remote-interface-unknown": ("grpc", HELLO),
    "remote-refuses": ("guarded", HELLO),
    "remote-broken": ("broken", HELLO),
    "remote-mute": ("mute", HELLO),
    "remote-forgets": ("forgetful", HELLO),
    "remote-rejected": ("old-polled", ["reject", "I will not"]),
}
"""The agent, by its path, and what it is told to do."""


def check_outcome(gateway: FakeGateway, key: str, *, message: str | None = None) -> None:
    """
    Compare what the runner said of its end with the row of ``key``.

    ``message`` is what it says in place of the row's, where a bound is shorter than a user's.
    """
    row, outcome = find(key), gateway.outcome
    assert outcome is not None
    assert (outcome.state.value, outcome.reason) == (row.phase.value, row.reason), (
        f"{row}\n{outcome}"
    )
    wanted, said = message or row.message, outcome.message or ""
    assert re.search(wanted, said, re.DOTALL), f"{wanted!r} is not in {said!r}"
    assert len(said) <= LONGEST_MESSAGE
    assert "run_completed" not in gateway.types


@pytest.mark.failure(*WRONG)
@pytest.mark.parametrize("key", WRONG)
async def test_what_goes_wrong_is_named(tmp_path: Path, agents: Agents, key: str) -> None:
    agent, step = WRONG[key]
    gateway = asks(agents.at(agent), step)
    await finish(tmp_path, gateway)
    check_outcome(gateway, key)


@pytest.mark.failure("remote-card-hangs")
async def test_card_that_does_not_come_is_given_up(tmp_path: Path, agents: Agents) -> None:
    gateway = asks(agents.at("hanging"), HELLO)
    await finish(tmp_path, gateway, bounds={"agentrun.runner.a2a.card.CARD_SECONDS": 1.0})
    bound, wanted = f"{CARD_SECONDS:.0f} s", find("remote-card-hangs").message
    assert bound in wanted
    check_outcome(gateway, "remote-card-hangs", message=wanted.replace(bound, "1 s"))
