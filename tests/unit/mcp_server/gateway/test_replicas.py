"""Reports of one run that reach two replicas: each of them knows nothing of the other's."""

import pytest

from agentrun.api.v1alpha1 import AgentState, AgentStatus, Outcome, OutcomeState
from agentrun.kube.resources import RUNS
from agentrun.store.base import ConflictError, RunRow, SealedError
from mcp_server.gateway.kube import KubernetesRunDirectory
from mcp_server.gateway.problems import RequestError
from mcp_server.gateway.reports import Reports
from mcp_server.gateway.runner_identity import RunnerIdentity
from tests.memory_store import MemoryRunStore
from tests.unit.mcp_server.gateway.conftest import the_run
from tests.unit.mcp_server.gateway.fakes import FakeKube

SPEAKER = RunnerIdentity(RunRow(the_run()), 1)
DONE = Outcome(attempt=1, state=OutcomeState.COMPLETED)
WORKING = AgentStatus(state=AgentState.WORKING)
ANSWERED = AgentStatus(state=AgentState.WORKING, acknowledged_input=3)


class Pair:
    """Two replicas on one store and one API server."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.kube.put(RUNS, the_run())
        store = MemoryRunStore()
        self.one, self.other = (Reports(store, KubernetesRunDirectory(self.kube)) for _ in range(2))

    @property
    def agent(self) -> AgentStatus:
        return AgentStatus.model_validate(
            self.kube.objects["agentruns", "team", "run-1"]["status"]["agent"]
        )


@pytest.fixture
def pair() -> Pair:
    return Pair()


async def test_a_concurrent_outcome_is_not_lost(pair: Pair) -> None:
    pair.kube.before_patch.append(lambda: pair.other.outcome(SPEAKER, DONE))
    await pair.one.state(SPEAKER, ANSWERED)
    assert (pair.agent.acknowledged_input, pair.agent.outcome) == (3, DONE)


async def test_a_concurrent_state_is_not_lost(pair: Pair) -> None:
    pair.kube.before_patch.append(lambda: pair.other.state(SPEAKER, ANSWERED))
    await pair.one.outcome(SPEAKER, DONE)
    assert (pair.agent.acknowledged_input, pair.agent.outcome) == (3, DONE)


async def test_of_two_states_the_unwritten_one_is_not_acknowledged(pair: Pair) -> None:
    pair.kube.before_patch.append(lambda: pair.other.state(SPEAKER, ANSWERED))
    with pytest.raises(RequestError, match="Send the newest state again") as refused:
        await pair.one.state(SPEAKER, WORKING)
    assert refused.value.problem.error == "unavailable"
    assert pair.agent.acknowledged_input == 3


async def test_of_two_different_outcomes_the_first_is_kept(pair: Pair) -> None:
    pair.kube.before_patch.append(lambda: pair.other.outcome(SPEAKER, DONE))
    with pytest.raises(ConflictError):
        await pair.one.outcome(SPEAKER, DONE.model_copy(update={"state": OutcomeState.FAILED}))
    assert pair.agent.outcome == DONE


async def test_a_concurrent_end_of_the_run_refuses_the_report(pair: Pair) -> None:
    async def end() -> None:
        ended = the_run(phase="Cancelled")
        ended.metadata.resource_version = "11"
        pair.kube.put(RUNS, ended)

    pair.kube.before_patch.append(end)
    with pytest.raises(SealedError):
        await pair.one.outcome(SPEAKER, DONE)
    assert pair.kube.patches == []
