"""Every test of the chart needs helm."""

import pytest

from tests.unit.chart import helm


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    helm.install_tools()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test enough time to build helm on a machine that has none yet."""
    for item in items:
        if "/unit/chart/" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(900))
