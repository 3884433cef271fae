"""Who may speak, and for which run."""

from dataclasses import replace
from typing import Any

import pytest

from agentrun.api.gateway import Problem
from agentrun.api.v1alpha1 import Phase
from agentrun.store.base import RunRow
from tests.contract.builders import BEGIN, TS, a_run
from tests.unit.mcp_server.gateway.conftest import POD, World, the_run

EVENT = {"seq": 1, "event_id": "e", "ts": TS, "type": "agent_message", "data": {"text": "hi"}}
CALLS: list[Any] = [
    pytest.param("GET", "/v1/task", None, id="task"),
    pytest.param("GET", "/v1/head", None, id="head"),
    pytest.param("POST", "/v1/events", {"events": [EVENT]}, id="events"),
    pytest.param("PUT", "/v1/blobs/a.txt", b"a", id="blobs"),
    pytest.param("POST", "/v1/state", {"state": "Working"}, id="state"),
    pytest.param("POST", "/v1/outcome", {"attempt": 1, "state": "Completed"}, id="outcome"),
    pytest.param("GET", "/v1/inputs", None, id="inputs"),
]
# A task is refused as well: whoever asks for one is about to begin.
WRITES = [call for call in CALLS if call.values[0] != "GET" or call.id == "task"]


async def is_empty(world: World) -> bool:
    head = await world.store.head("uid-1")
    return head.last_seq == 0 and not world.blobs._blobs and not world.runs.applied


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_a_pod_of_the_newest_attempt_is_answered(
    world: World, method: str, path: str, body: Any
) -> None:
    assert (await world.call(method, path, body)).status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_requests_without_a_valid_token_are_rejected(
    world: World, method: str, path: str, body: Any
) -> None:
    for header in ({}, {"authorization": "Basic eA=="}, {"authorization": "Bearer nonsense"}):
        answer = await world.http.request(method, path, headers=header)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert Problem.model_validate_json(answer.content).error == "unauthenticated"
    assert await is_empty(world)


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
@pytest.mark.parametrize(
    "token",
    [
        pytest.param("team/run-1-2/pod-1", id="attempt-that-never-was"),
        pytest.param("team/run-1-0/pod-1", id="attempt-before"),
        pytest.param("team/run-1-01/pod-1", id="forged-number"),
        pytest.param("team/run-1-1/pod-other", id="other-pod-of-that-name"),
        pytest.param("team/run-9-1/pod-9", id="unknown-run"),
        pytest.param("other/run-1-1/pod-1", id="other-namespace"),
        pytest.param("team/web/pod-3", id="no-run-at-all"),
    ],
)
async def test_a_pod_of_another_run_is_fenced(
    world: World, method: str, path: str, body: Any, token: str
) -> None:
    answer = await world.call(method, path, body, token)
    assert answer.status_code == 403
    assert Problem.model_validate_json(answer.content).error == "fenced"
    assert await is_empty(world)


async def test_an_older_attempt_is_fenced_with_a_reason(world: World) -> None:
    await world.see(the_run(attempts=2, pod_name="run-1-2", pod_uid=None))
    answer = await world.call("GET", "/v1/head")
    assert answer.status_code == 403
    assert "Attempt 2 of run run-1 has started; this is attempt 1." in answer.json()["message"]


async def test_a_new_attempt_is_recognized_before_the_watch_reports_it(world: World) -> None:
    run = the_run(attempts=2, pod_name="run-1-2", pod_uid="pod-2")
    run.metadata.resource_version = "11"
    world.runs.put(run)
    assert (await world.call("GET", "/v1/head", token="team/run-1-2/pod-2")).status_code == 200
    assert (await world.call("GET", "/v1/head")).status_code == 403


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"pod_name": "run-1-2", "pod_uid": None}, id="no-uid-yet"),
        pytest.param({}, id="that-of-the-last-attempt"),
        pytest.param({"pod_name": None, "pod_uid": None}, id="nothing"),
    ],
)
@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_no_runner_is_served_before_the_pod_of_the_run_is_known(
    world: World, method: str, path: str, body: Any, status: dict[str, Any]
) -> None:
    await world.see(the_run(attempts=2, **status))
    answer = await world.call(method, path, body, "team/run-1-2/pod-of-a-stranger")
    assert answer.status_code == 503
    assert "not known yet which pod run-1-2 belongs" in answer.json()["message"]
    assert await is_empty(world)
    run = the_run(attempts=2, pod_name="run-1-2", pod_uid="pod-2")
    run.metadata.resource_version = "11"
    # The watch has not brought it; the API server knows.
    world.runs.put(run)
    assert (await world.call("GET", "/v1/head", token="team/run-1-2/pod-2")).status_code == 200
    stranger = await world.call(method, path, body, "team/run-1-2/pod-of-a-stranger")
    assert stranger.status_code == 403


async def test_a_run_that_the_store_has_not_seen_is_recorded(world: World) -> None:
    run = a_run("uid-2", "run-2", version=3)
    run.status.attempts, run.status.pod_name, run.status.pod_uid = 1, "run-2-1", "pod-x"
    world.runs.put(run)
    answer = await world.call("GET", "/v1/head", token="team/run-2-1/pod-x")
    assert answer.status_code == 200
    assert await world.store.get_run("team", "run-2") is not None


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
@pytest.mark.parametrize("how", ["terminal", "sealed"])
async def test_nothing_is_added_to_an_ended_run(
    world: World, method: str, path: str, body: Any, how: str
) -> None:
    if how == "sealed":
        await world.store.seal("uid-1", "seal", TS, {"status": "cancelled"})
    else:
        await world.see(the_run(phase=Phase.CANCELLED))
    head = await world.store.head("uid-1")
    answer = await world.call(method, path, body)
    assert answer.status_code == 410
    assert Problem.model_validate_json(answer.content).error == "sealed"
    assert await world.store.head("uid-1") == head
    assert not world.blobs._blobs
    assert not world.runs.applied


async def test_an_ended_run_still_returns_its_head_while_the_cluster_is_unavailable(
    world: World,
) -> None:
    await world.store.seal("uid-1", "seal", TS, {"status": "cancelled"})
    world.runs.away = True
    assert (await world.call("GET", "/v1/head")).json() == {"last_seq": 1, "sealed": True}


async def test_a_reused_name_refers_to_the_new_run(world: World) -> None:
    await world.store.record_run(replace(RunRow(the_run(phase=Phase.CANCELLED)), deleted_at=BEGIN))
    again = a_run("uid-new", "run-1", minute=5, version=20)
    again.status.attempts, again.status.pod_name = 1, "run-1-1"
    again.status.pod_uid = "pod-new"
    world.runs.put(again)
    answer = await world.call("POST", "/v1/events", {"events": [EVENT]}, "team/run-1-1/pod-new")
    assert answer.status_code == 200
    assert len(await world.store.read("uid-new", 0, 10)) == 1


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_runners_are_asked_to_retry_while_tokens_cannot_be_checked(
    world: World, method: str, path: str, body: Any
) -> None:
    world.authenticator.away = True
    answer = await world.call(method, path, body)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert Problem.model_validate_json(answer.content).error == "unavailable"


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_runners_are_asked_to_retry_while_the_store_is_unavailable(
    world: World, method: str, path: str, body: Any
) -> None:
    world.store.failure = OSError("No space left on device")
    answer = await world.call(method, path, body)
    assert answer.status_code == 503
    assert "No space left on device" in answer.json()["message"]
    world.store.failure = None
    assert await is_empty(world)
    assert (await world.call(method, path, body)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/head", 404),
        ("POST", "/v1/head", 405),
        ("GET", "/v1/blobs/a", 405),
    ],
)
async def test_an_unknown_path_or_method_is_a_problem_response(
    world: World, method: str, path: str, status: int
) -> None:
    answer = await world.call(method, path)
    assert answer.status_code == status
    Problem.model_validate_json(answer.content)


async def test_an_internal_error_of_the_gateway_is_worth_a_retry(world: World) -> None:
    world.store.failure = None
    world.runs.profiles = None  # type: ignore[assignment]
    answer = await world.call("GET", "/v1/task")
    assert answer.status_code == 500
    assert Problem.model_validate_json(answer.content).error == "unavailable"


async def test_events_carry_the_session_from_the_first_event(world: World) -> None:
    await world.call("POST", "/v1/events", {"events": [EVENT]}, POD)
    assert (await world.store.read("uid-1", 0, 1))[0].session_id == "session-1"
