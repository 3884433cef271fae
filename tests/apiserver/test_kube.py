"""The client keeps the contract with a real API server, so the one in memory is like it."""

from collections.abc import AsyncIterator

import pytest
from kubernetes import client

from agentrun.kube.api import KubeApi
from agentrun.kube.client import connect
from tests.kube_contract import KubeContract


@pytest.fixture
async def kube(api: client.ApiClient) -> AsyncIterator[KubeApi]:
    async with connect() as connected:
        yield connected


class TestKube(KubeContract):
    """The contract."""
