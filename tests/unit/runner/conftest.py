from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.unit.runner import harness

if TYPE_CHECKING:
    from tests.unit.runner.remotes import Agents


@pytest.fixture(autouse=True)
def quick_tests_start_no_pods(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep `make test-quick` quick: it excludes the tests that start a pod."""
    is_slow = request.node.get_closest_marker("slow") is not None
    monkeypatch.setattr(harness, "may_start", is_slow)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agents() -> AsyncIterator["Agents"]:
    """Serve the remote agents to a module, whose tests are in its loop."""
    # The SDK's server takes a while to load, and most modules need none.
    from tests.unit.runner.remotes import serving

    async with serving() as served:
        yield served
