from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.unit.runner import harness, remotes


@pytest.fixture(autouse=True)
def quick_tests_start_no_pods(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep `make test-quick` quick: it excludes the tests that start a pod."""
    is_slow = request.node.get_closest_marker("slow") is not None
    monkeypatch.setattr(harness, "may_start", is_slow)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agents() -> AsyncIterator[remotes.Agents]:
    """Serve the remote agents to a module, whose tests are in its loop."""
    async with remotes.serving() as served:
        yield served
