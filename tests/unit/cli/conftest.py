from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.cli.fake_cluster import FakeCluster, a_cluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[FakeCluster]:
    async with a_cluster(tmp_path) as made:
        yield made
