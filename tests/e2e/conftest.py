"""
The tests' cluster: one API server client, one set of watches and one event loop for all tests.

Tests run concurrently, in separate processes, on one cluster. Tests that disturb others (that kill
a part of the product or of the cluster, or change a shared release) are marked ``disruptive`` and
run on a second cluster, those of one kind one after the other. Tests that disturb only a release of
their own (``own_release``) run concurrently with them, except while a test takes a part of the
cluster itself away (``alone``).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from dev import cluster as dev_cluster
from dev import paths, product
from dev.components import Cluster
from dev.mcp_client import McpClient
from tests.e2e import evidence
from tests.e2e.cluster import apply, connect
from tests.e2e.installation import Installation, profile, reached
from tests.e2e.kube import connected
from tests.e2e.releases import IMPATIENT, IMPATIENT_FLAGS, SETTINGS, installed
from tests.e2e.turns import turn

PROFILES = [
    profile("trivial"),
    profile("no-image", image="localhost/agentrun/no-such-image:1", imagePullPolicy="IfNotPresent"),
    profile("no-program", command=["no-such-agent"]),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests of a process in one event loop, which holds the connections and watches."""
    here = str(Path(__file__).parent)
    for item in items:
        if str(item.path).startswith(here) and asyncio.iscoroutinefunction(
            getattr(item, "function", None)
        ):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run if pytest-xdist does not keep groups together, which it would not report."""
    if not session.config.getoption("loadgroup", False):
        return
    apart = [
        item.nodeid
        for item in session.items
        if item.get_closest_marker("xdist_group") and "@" not in item.nodeid
    ]
    if apart:
        raise pytest.UsageError(f"this pytest and pytest-xdist lose the groups of {apart[:3]}")


@pytest_asyncio.fixture(scope="session", loop_scope="session", autouse=True)
async def kube() -> AsyncIterator[None]:
    async with connected() as made:
        connect(made)
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def platform(kube: None) -> AsyncIterator[Installation]:
    """The release that nearly all tests use."""
    name = os.environ["AGENTRUN_CLUSTER"]
    await asyncio.to_thread(installed, name, product.MAIN, *SETTINGS)
    await apply(*PROFILES)
    with reached(name, product.MAIN) as url:
        client = McpClient(f"{url}/mcp", product.token(name))
        yield Installation(name, product.MAIN, client)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def impatient(platform: Installation) -> AsyncIterator[Installation]:
    """A second release, with short timeouts and namespaces that tests may change."""
    await asyncio.to_thread(installed, platform.cluster, IMPATIENT, *IMPATIENT_FLAGS)
    with reached(platform.cluster, IMPATIENT) as url:
        client = McpClient(f"{url}/mcp", platform.client.token)
        yield Installation(platform.cluster, IMPATIENT, client)


@pytest.fixture(scope="session")
def cluster(platform: Installation) -> Cluster:
    """The processes and the network of the cluster, which only the native cluster exposes."""
    found = dev_cluster.find(platform.cluster)
    assert found is not None, "needs the native cluster"
    return found


@pytest.fixture(scope="session")
def git_url(platform: Installation) -> Iterator[str]:
    """The URL of the git server from this machine."""
    with product.service_url(platform.cluster, "agentrun-dev", "git", 8080) as url:
        yield url


# First of all hooks: the wait is not part of the test's timeout.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """Acquire the cluster for the test and the fixtures that it is the first or last to use."""
    folder = paths.state(os.environ["AGENTRUN_CLUSTER"])
    with turn(folder, alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Add the state of the cluster to the report of a failed test."""
    report = yield
    if report.failed:
        report.sections.append(evidence.of(item, call, str(report.longrepr)))
    return report
