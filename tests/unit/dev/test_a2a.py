"""The fixtures' remote agents: each is there for tests."""

from dev.a2a.server import KINDS
from tests.unit.runner.remotes import SPOKEN


def test_all_kinds_of_agents_are_used() -> None:
    assert set(SPOKEN) | {"guarded", "bearer"} == set(KINDS)
