"""The API server in memory keeps the contract."""

import pytest

from agentrun.kube.api import KubeApi
from agentrun.kube.resources import SESSIONS
from tests.fake_kube import FakeKube
from tests.kube_contract import KubeContract, a_session


@pytest.fixture
def kube() -> KubeApi:
    return FakeKube()


@pytest.fixture
def namespace() -> str:
    return "ns"


class TestFakeKube(KubeContract):
    """The contract."""


async def test_a_watch_of_an_expired_version_ends_with_an_error() -> None:
    kube = FakeKube()
    _, version = await kube.list(SESSIONS, "ns")
    kube.forget_history()
    events = [event async for event in kube.watch(SESSIONS, "ns", version, 60)]
    assert [(event["type"], event["object"]["code"]) for event in events] == [("ERROR", 410)]


async def test_deletions_by_another_client_are_observed() -> None:
    kube, body = FakeKube(), a_session()
    added = kube.add(SESSIONS, "ns", body)
    _, version = await kube.list(SESSIONS, "ns")
    kube.remove(SESSIONS, "ns", added["metadata"]["name"])
    async for event in kube.watch(SESSIONS, "ns", version, 60):
        assert event["type"] == "DELETED"
        break
    assert await kube.find(SESSIONS, "ns", added["metadata"]["name"]) is None
