import pytest

from agentrun.api.v1alpha1 import AgentRun, AgentState, AgentStatus
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import PROFILES, RUNS, SESSIONS
from mcp_server.gateway.kube import KubernetesRunDirectory
from mcp_server.gateway.ports import ClusterUnavailableError, RunGoneError, StatusRefusedError
from tests.unit.mcp_server.gateway.conftest import the_run
from tests.unit.mcp_server.gateway.fakes import FakeKube, a_profile, a_session

WORKING = AgentStatus(attempt=1, state=AgentState.WORKING)


def always_working(_: AgentRun) -> AgentStatus:
    return WORKING


@pytest.fixture
def kube() -> FakeKube:
    made = FakeKube()
    made.put(RUNS, the_run())
    made.put(PROFILES, a_profile())
    made.put(SESSIONS, a_session("run-1", "s-1"))
    return made


async def test_objects_are_read_unchanged(kube: FakeKube) -> None:
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
    applied = await KubernetesRunDirectory(kube).change_agent_status(the_run(), always_working)
    assert applied.status.agent == WORKING
    assert applied.metadata.resource_version != the_run().metadata.resource_version
    ((body, query),) = kube.patches
    assert isinstance(body, dict)
    assert body["status"] == {"agent": {"attempt": 1, "state": "Working"}}
    assert query == {"fieldManager": "agentrun-gateway", "force": "true"}


async def test_a_run_that_changed_concurrently_is_still_written(kube: FakeKube) -> None:
    old = the_run()
    old.metadata.resource_version = "9"
    applied = await KubernetesRunDirectory(kube).change_agent_status(old, always_working)
    assert applied.status.agent == WORKING
    assert len(kube.patches) == 1


async def test_the_change_is_based_on_the_newest_version(kube: FakeKube) -> None:
    old = the_run()
    old.metadata.resource_version = "9"
    asked = []

    def change(run: AgentRun) -> AgentStatus:
        asked.append(run.metadata.resource_version)
        return WORKING

    await KubernetesRunDirectory(kube).change_agent_status(old, change)
    assert asked == ["9", "10"]


async def test_an_unchanged_status_writes_nothing(kube: FakeKube) -> None:
    run = the_run()
    assert await KubernetesRunDirectory(kube).change_agent_status(run, lambda _: None) is run
    assert kube.patches == []


async def test_a_later_run_of_the_same_name_is_not_changed(kube: FakeKube) -> None:
    old = the_run()
    old.metadata.uid, old.metadata.resource_version = "uid-0", "5"
    with pytest.raises(RunGoneError):
        await KubernetesRunDirectory(kube).change_agent_status(old, always_working)
    assert kube.patches == []


async def test_changing_a_deleted_run_raises_run_gone(kube: FakeKube) -> None:
    kube.objects.clear()
    with pytest.raises(RunGoneError):
        await KubernetesRunDirectory(kube).change_agent_status(the_run(), always_working)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(ApiUnavailableError("away"), ClusterUnavailableError, id="away"),
        pytest.param(ApiError(403, "Forbidden", "no"), ClusterUnavailableError, id="no-rights"),
        pytest.param(ApiError(422, "Invalid", "no"), StatusRefusedError, id="invalid"),
        pytest.param(ApiError(413, "TooLarge", "no"), StatusRefusedError, id="too-large"),
    ],
)
async def test_refusals_are_classified_by_whether_a_retry_helps(
    kube: FakeKube, error: ApiError, expected: type[Exception]
) -> None:
    kube.error = error
    with pytest.raises(expected):
        await KubernetesRunDirectory(kube).change_agent_status(the_run(), always_working)


@pytest.mark.parametrize("error", [ApiUnavailableError("away"), ApiError(403, "Forbidden", "no")])
async def test_reading_fails_as_unavailable(kube: FakeKube, error: ApiError) -> None:
    kube.error = error
    with pytest.raises(ClusterUnavailableError):
        await KubernetesRunDirectory(kube).get("team", "run-1")


async def test_endless_conflicts_are_an_error_worth_a_retry(kube: FakeKube) -> None:
    class Restless(KubernetesRunDirectory):
        async def get(self, namespace: str, name: str) -> AgentRun | None:
            run = the_run()
            run.metadata.resource_version = "stale"
            return run

    with pytest.raises(ClusterUnavailableError):
        await Restless(kube).change_agent_status(
            await Restless(kube).get("", "") or the_run(), always_working
        )
