"""What the catalogue of failures promises of remote agents, where all of it is up to the runner."""

from pathlib import Path
from typing import Any

import pytest

from agentrun.runner.a2a.card import CARD_SECONDS
from dev.failures import find
from tests.failures import promised
from tests.unit.runner.ends import check_told, sooner
from tests.unit.runner.remotes import Agents, asks, finish

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

HELLO = ["say", "hello"]
WRONG: dict[str, tuple[str, list[Any]]] = {
    "remote-card-missing": ("nowhere", HELLO),
    "remote-card-moved": ("moved", HELLO),
    "remote-card-wrong": ("page", HELLO),
    "remote-interface-unknown": ("grpc", HELLO),
    "remote-url-invalid": ("pathless", HELLO),
    "remote-refuses": ("guarded", HELLO),
    "remote-broken": ("broken", HELLO),
    "remote-mute": ("mute", HELLO),
    "remote-forgets": ("forgetful", HELLO),
    "remote-failed": ("streaming", ["fail", "I cannot"]),
}
"""The agent, by its path, and what it is told to do."""


@promised(*WRONG)
async def test_errors_are_named(tmp_path: Path, agents: Agents, key: str) -> None:
    agent, step = WRONG[key]
    gateway = asks(agents.at(agent), step)
    await finish(tmp_path, gateway)
    check_told(find(key), gateway)


@promised("remote-card-hangs")
async def test_missing_card_is_abandoned_after_a_timeout(
    tmp_path: Path, agents: Agents, key: str
) -> None:
    gateway = asks(agents.at("hanging"), HELLO)
    await finish(tmp_path, gateway, bounds={"agentrun.runner.a2a.card.CARD_SECONDS": 1.0})
    check_told(sooner(find(key), CARD_SECONDS, 1), gateway)


@promised("remote-url-unreachable")
async def test_unreachable_url_in_the_card_is_named(
    tmp_path: Path, agents: Agents, key: str
) -> None:
    gateway = asks(agents.at("bound"), HELLO)
    bounds = {"agentrun.runner.a2a.following.PATIENCE_SECONDS": 0.5}
    await finish(tmp_path, gateway, bounds=bounds)
    check_told(find(key), gateway)
