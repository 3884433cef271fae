from typing import Any

import pytest

from agentrun.kube.errors import ApiUnavailableError
from mcp_server.access.auth import AUDIENCE, Caller, KubernetesTokenVerifier, ReviewUnavailableError
from tests.unit.mcp_server.cluster import FakeCluster

ALICE = {
    "authenticated": True,
    "audiences": [AUDIENCE],
    "user": {"username": "system:serviceaccount:team-a:alice", "groups": ["g"]},
}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("review", "username"),
    [
        pytest.param(ALICE, "system:serviceaccount:team-a:alice", id="valid"),
        pytest.param({"authenticated": False, "error": "expired"}, None, id="refused"),
        pytest.param({}, None, id="no-answer"),
        pytest.param(ALICE | {"audiences": ["other"]}, None, id="another-audience"),
        pytest.param({**ALICE, "audiences": []}, None, id="api-server-without-audiences"),
    ],
)
async def test_a_token_authenticates_whom_the_api_server_reports(
    review: dict[str, Any], username: str | None
) -> None:
    cluster = FakeCluster()
    cluster.reviews["token"] = review
    access = await KubernetesTokenVerifier(cluster).verify_token("token")
    assert (access and access.client_id) == username
    assert access is None or access.claims == {"groups": ["g"]}
    assert cluster.requests == [("review", AUDIENCE)]


async def test_an_accepted_token_is_cached_for_a_minute_without_its_text() -> None:
    cluster, clock = FakeCluster(), Clock()
    cluster.reviews["s3cret-token"] = ALICE
    verifier = KubernetesTokenVerifier(cluster, clock)
    access = await verifier.verify_token("s3cret-token")
    clock.now += 59
    assert await verifier.verify_token("s3cret-token") == access
    assert len(cluster.requests) == 1
    cluster.reviews.clear()
    clock.now += 2
    assert await verifier.verify_token("s3cret-token") is None
    assert "s3cret-token" not in repr((vars(verifier._reviews), access))


async def test_a_rejection_is_cached_for_a_shorter_time() -> None:
    cluster, clock = FakeCluster(), Clock()
    verifier = KubernetesTokenVerifier(cluster, clock)
    assert await verifier.verify_token("token") is None
    cluster.reviews["token"] = ALICE
    clock.now += 6
    assert await verifier.verify_token("token") is not None


async def test_an_unavailable_api_server_rejects_nobody() -> None:
    cluster = FakeCluster()
    cluster.outage = ApiUnavailableError("connection refused")
    with pytest.raises(ReviewUnavailableError, match="connection refused"):
        await KubernetesTokenVerifier(cluster).verify_token("token")


@pytest.mark.parametrize(
    ("username", "namespace"),
    [
        pytest.param("system:serviceaccount:team-a:alice", "team-a", id="service-account"),
        pytest.param("alice@example.test", None, id="person"),
    ],
)
def test_a_service_account_has_a_namespace(username: str, namespace: str | None) -> None:
    assert Caller(username).namespace == namespace
