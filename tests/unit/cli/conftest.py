from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.unit.cli.fake_cluster import FakeCluster, a_cluster
from tests.unit.cli.fake_server import FakeServer, serving


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[FakeCluster]:
    async with a_cluster(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def served() -> Iterator[FakeServer]:
    with serving(FakeServer()) as made:
        yield made


@pytest.fixture
def fake(served: FakeServer) -> FakeServer:
    served.reset()
    return served
