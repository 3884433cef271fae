from collections.abc import Mapping
from typing import Any

import pytest

from agentrun.api.v1alpha1 import AgentRun, AgentState, AgentStatus
from mcp_server.gateway.kube import KubernetesRunDirectory
from mcp_server.gateway.ports import ClusterUnavailable, RunGone, StatusRefused
from mcp_server.kube import APPLY_PATCH, ApiError, ApiUnavailable, Kube, Resource
from tests.mcp.gateway.conftest import the_run
from tests.mcp.gateway.fakes import a_profile, a_session

WORKING = AgentStatus(attempt=1, state=AgentState.WORKING)


class FakeKube(Kube):
    """An API server with a few objects, which minds resource versions as the real one does."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.patches: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.error: ApiError | None = None

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        try:
            return self.objects[resource.plural, name]
        except KeyError:
            raise ApiError(404, "NotFound", f"{name} not found") from None

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: dict[str, Any],
        *,
        subresource: str = "",
        content_type: str = "",
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        stored = await self.get(resource, namespace, name)
        version = stored["metadata"]["resourceVersion"]
        if body["metadata"]["resourceVersion"] != version:
            raise ApiError(409, "Conflict", "the object has been modified")
        assert (subresource, content_type) == ("status", APPLY_PATCH)
        self.patches.append((body, dict(query or {})))
        metadata = {**stored["metadata"], "resourceVersion": f"{version}0"}
        status = {**stored["status"], **body["status"]}
        self.objects[resource.plural, name] = {**stored, "metadata": metadata, "status": status}
        return self.objects[resource.plural, name]


@pytest.fixture
def kube() -> FakeKube:
    made = FakeKube()
    made.objects["agentruns", "run-1"] = the_run().to_json()
    made.objects["agentprofiles", "codex"] = a_profile().to_json()
    made.objects["agentsessions", "run-1"] = a_session("run-1", "s-1").to_json()
    return made


async def test_objects_are_read_as_they_are(kube: FakeKube) -> None:
    directory = KubernetesRunDirectory(kube)
    assert await directory.get("team", "run-1") == the_run()
    assert await directory.profile("team", "codex") == a_profile()
    assert await directory.session("team", "run-1") == a_session("run-1", "s-1")


async def test_what_does_not_exist_is_none(kube: FakeKube) -> None:
    directory = KubernetesRunDirectory(kube)
    assert await directory.get("team", "run-9") is None
    assert await directory.profile("team", "mine") is None
    assert await directory.session("team", "talk") is None


async def test_the_whole_agent_status_is_applied_and_nothing_else(kube: FakeKube) -> None:
    applied = await KubernetesRunDirectory(kube).apply_agent_status(the_run(), WORKING)
    assert applied.status.agent == WORKING
    assert applied.metadata.resource_version == "100"
    ((body, query),) = kube.patches
    assert body["status"] == {"agent": {"attempt": 1, "state": "Working"}}
    assert query == {"fieldManager": "agentrun-gateway", "force": "true"}


async def test_a_run_that_changed_meanwhile_is_written_all_the_same(kube: FakeKube) -> None:
    old = the_run()
    old.metadata.resource_version = "9"
    applied = await KubernetesRunDirectory(kube).apply_agent_status(old, WORKING)
    assert applied.status.agent == WORKING
    assert len(kube.patches) == 1


async def test_a_later_run_of_the_same_name_is_left_alone(kube: FakeKube) -> None:
    old = the_run()
    old.metadata.uid, old.metadata.resource_version = "uid-0", "5"
    with pytest.raises(RunGone):
        await KubernetesRunDirectory(kube).apply_agent_status(old, WORKING)
    assert kube.patches == []


async def test_a_run_that_was_deleted_is_gone(kube: FakeKube) -> None:
    kube.objects.clear()
    with pytest.raises(RunGone):
        await KubernetesRunDirectory(kube).apply_agent_status(the_run(), WORKING)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(ApiUnavailable("away"), ClusterUnavailable, id="away"),
        pytest.param(ApiError(403, "Forbidden", "no"), ClusterUnavailable, id="no-rights"),
        pytest.param(ApiError(422, "Invalid", "no"), StatusRefused, id="invalid"),
        pytest.param(ApiError(413, "TooLarge", "no"), StatusRefused, id="too-large"),
    ],
)
async def test_refusals_are_sorted_by_whether_trying_again_helps(
    kube: FakeKube, error: ApiError, expected: type[Exception]
) -> None:
    kube.error = error
    with pytest.raises(expected):
        await KubernetesRunDirectory(kube).apply_agent_status(the_run(), WORKING)


@pytest.mark.parametrize("error", [ApiUnavailable("away"), ApiError(403, "Forbidden", "no")])
async def test_reading_fails_as_unavailable(kube: FakeKube, error: ApiError) -> None:
    kube.error = error
    with pytest.raises(ClusterUnavailable):
        await KubernetesRunDirectory(kube).get("team", "run-1")


async def test_a_run_that_never_rests_is_worth_another_try(kube: FakeKube) -> None:
    class Restless(KubernetesRunDirectory):
        async def get(self, namespace: str, name: str) -> AgentRun | None:
            run = the_run()
            run.metadata.resource_version = "stale"
            return run

    with pytest.raises(ClusterUnavailable):
        await Restless(kube).apply_agent_status(
            await Restless(kube).get("", "") or the_run(), WORKING
        )
