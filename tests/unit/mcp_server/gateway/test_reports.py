"""State and outcome."""

import asyncio
from typing import Any

import pytest

from agentrun.api.v1alpha1 import AgentStatus, Phase
from mcp_server.gateway.ports import ClusterUnavailableError, StatusRefusedError
from tests.unit.mcp_server.gateway.conftest import World, the_run

OUTCOME = {
    "attempt": 1,
    "state": "Completed",
    "result": {"summary": "Done.", "structured": {"a": None}},
    "finishedAt": "2026-11-23T12:00:00.123Z",
}


def agent(world: World) -> dict[str, Any]:
    status = world.runs.runs["run-1"].status.agent
    return status.to_json() if status else {}


async def test_a_state_becomes_the_runs_status(world: World) -> None:
    said = {"state": "InputRequired", "question": {"id": "q1", "text": "Which?"}}
    answer = await world.call("POST", "/v1/state", said)
    assert answer.json() == {"last_seq": 0, "sealed": False}
    assert agent(world) == {
        "attempt": 1,
        "state": "InputRequired",
        "question": {"id": "q1", "kind": "input", "text": "Which?", "options": []},
    }


async def test_the_same_state_is_written_once(world: World) -> None:
    for _ in range(3):
        await world.call("POST", "/v1/state", {"state": "Working", "promptSent": True})
    assert len(world.runs.applied) == 1


async def test_an_answered_question_is_removed_and_fields_unknown_to_the_runner_stay(
    world: World,
) -> None:
    first = {
        "state": "InputRequired",
        "question": {"id": "q1"},
        "sessionID": "abc",
        "acknowledgedInput": 2,
        "promptSent": True,
        "usage": {"inputTokens": 5},
    }
    await world.call("POST", "/v1/state", first)
    await world.call("POST", "/v1/state", {"state": "Working"})
    assert agent(world) == {
        "attempt": 1,
        "state": "Working",
        "sessionID": "abc",
        "acknowledgedInput": 2,
        "promptSent": True,
        "usage": {"inputTokens": 5},
    }


async def test_null_removes_a_field_and_acknowledged_inputs_never_decrease(world: World) -> None:
    await world.call("POST", "/v1/state", {"sessionID": "abc", "acknowledgedInput": 3})
    await world.call("POST", "/v1/state", {"sessionID": None, "acknowledgedInput": 1})
    assert agent(world) == {"attempt": 1, "acknowledgedInput": 3}


async def test_a_state_keeps_the_outcome_of_its_attempt(world: World) -> None:
    await world.call("POST", "/v1/outcome", OUTCOME)
    await world.call("POST", "/v1/state", {"state": "Finished"})
    assert agent(world)["outcome"]["state"] == "Completed"
    assert agent(world)["state"] == "Finished"


async def test_a_new_attempt_starts_without_an_outcome(world: World) -> None:
    await world.call("POST", "/v1/state", {"state": "Working", "promptSent": True})
    await world.call("POST", "/v1/outcome", OUTCOME | {"state": "Interrupted"})
    run = world.runs.runs["run-1"].model_copy(deep=True)
    run.status.attempts, run.status.pod_name, run.status.pod_uid = 2, "run-1-2", "pod-2"
    await world.see(run)
    await world.call("POST", "/v1/state", {"state": "Preparing"}, "team/run-1-2/pod-2")
    assert agent(world) == {"attempt": 2, "state": "Preparing", "promptSent": True}


async def test_an_outcome_is_durable_and_may_be_sent_again(world: World) -> None:
    await world.call("POST", "/v1/state", {"state": "Working", "sessionID": "abc"})
    for _ in range(2):
        answer = await world.call("POST", "/v1/outcome", OUTCOME)
        assert answer.status_code == 200
    assert len(world.runs.applied) == 2
    assert agent(world)["outcome"]["result"] == OUTCOME["result"]
    assert agent(world)["sessionID"] == "abc"
    row = await world.store.get_run_by_uid("uid-1")
    assert row is not None
    assert row.run.status.agent is not None
    assert row.run.status.agent.outcome is not None


async def test_an_outcome_that_the_store_has_not_seen_still_counts(world: World) -> None:
    await world.call("POST", "/v1/outcome", OUTCOME)
    row = await world.store.get_run_by_uid("uid-1")
    assert row is not None
    world.store._runs["uid-1"].row.run.status.agent = None
    answer = await world.call("POST", "/v1/outcome", OUTCOME | {"state": "Failed"})
    assert answer.status_code == 409


async def test_another_outcome_of_the_same_attempt_is_a_conflict(world: World) -> None:
    await world.call("POST", "/v1/outcome", OUTCOME)
    answer = await world.call("POST", "/v1/outcome", OUTCOME | {"state": "Failed"})
    assert (answer.status_code, answer.json()["error"]) == (409, "conflict")
    assert agent(world)["outcome"]["state"] == "Completed"


async def test_concurrent_reports_lose_nothing(world: World) -> None:
    await asyncio.gather(
        world.call("POST", "/v1/outcome", OUTCOME),
        *(world.call("POST", "/v1/state", {"usage": {"inputTokens": n}}) for n in range(5)),
    )
    assert agent(world)["outcome"]["state"] == "Completed"
    assert "usage" in agent(world)


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        pytest.param("/v1/state", b"{", "AgentStatus: ", id="no-json"),
        pytest.param("/v1/state", {"state": "Dancing"}, "state", id="state"),
        pytest.param("/v1/state", {"acknowledgedInput": -1}, "acknowledgedInput", id="number"),
        pytest.param("/v1/state", {"question": {"id": ""}}, "question.id", id="nested"),
        pytest.param("/v1/state", {"outcome": OUTCOME}, "/v1/outcome", id="outcome-in-state"),
        pytest.param("/v1/outcome", {}, "attempt", id="no-attempt"),
        pytest.param("/v1/outcome", OUTCOME | {"state": "Great"}, "state", id="outcome-state"),
        pytest.param("/v1/outcome", OUTCOME | {"attempt": 2}, "attempt", id="other-attempt"),
    ],
)
async def test_invalid_input_is_named_and_not_written(
    world: World, path: str, body: Any, named: str
) -> None:
    answer = await world.call("POST", path, body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid")
    assert named in answer.json()["message"]
    assert not world.runs.applied


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (ClusterUnavailableError("The API server is away."), 503, "unavailable"),
        (StatusRefusedError("status.agent is too long."), 400, "invalid"),
    ],
)
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/state", {"state": "Working"}), ("/v1/outcome", OUTCOME)]
)
async def test_only_what_the_api_server_accepted_is_acknowledged(
    world: World, refusal: Exception, status: int, code: str, path: str, body: Any
) -> None:
    world.runs.refusal = refusal
    answer = await world.call("POST", path, body)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    world.runs.refusal = None
    assert (await world.call("POST", path, body)).status_code == 200
    assert len(world.runs.applied) == 1


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/state", {"state": "Working"}), ("/v1/outcome", OUTCOME)]
)
async def test_a_deleted_run_has_ended(world: World, path: str, body: Any) -> None:
    del world.runs.runs["run-1"]
    answer = await world.call("POST", path, body)
    assert (answer.status_code, answer.json()["error"]) == (410, "sealed")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({"phase": Phase.CANCELLED}, 410, id="ended"),
        pytest.param({"attempts": 2}, 403, id="next-attempt"),
    ],
)
async def test_an_outcome_after_the_end_is_refused_although_the_store_lags(
    world: World, change: dict[str, Any], status: int
) -> None:
    world.runs.put(the_run(**change))
    assert (await world.call("POST", "/v1/outcome", OUTCOME)).status_code == status
    assert not world.runs.applied


def test_an_empty_status_is_an_empty_object() -> None:
    assert AgentStatus().to_json() == {}
