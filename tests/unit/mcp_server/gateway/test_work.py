"""Tasks and inputs."""

import asyncio
from typing import Any

import httpx2
import pytest

from agentrun.api.gateway import Inputs, Task
from agentrun.api.v1alpha1 import (
    AgentRun,
    AgentRunSpec,
    AgentSessionStatus,
    AgentStatus,
    DesiredState,
    Input,
    ObjectMeta,
    Phase,
    SessionSpec,
)
from agentrun.store.base import RunRow
from tests.contract.builders import TS, an_event
from tests.unit.mcp_server.gateway.conftest import World, the_run

LONG = 30_000


def answered(*seqs: int, version: int = 20) -> AgentRun:
    run = the_run()
    message = {"parts": [{"type": "text", "text": "Yes."}]}
    run.spec.inputs = [Input.model_validate({"seq": seq, "message": message}) for seq in seqs]
    run.metadata.resource_version = str(version)
    return run


async def ask(world: World, after: int = 0, wait_ms: int = 0) -> tuple[list[int], str]:
    answer = await world.call("GET", f"/v1/inputs?after={after}&wait_ms={wait_ms}")
    assert answer.status_code == 200, answer.text
    inputs = Inputs.model_validate_json(answer.content)
    return [item.seq for item in inputs.inputs], inputs.desired_state


async def begin_asking(world: World, after: int = 0) -> "asyncio.Task[tuple[list[int], str]]":
    asking = asyncio.create_task(ask(world, after, LONG))
    for _ in range(50):
        await asyncio.sleep(0)  # Until it waits.
    assert not asking.done()
    return asking


def a_resuming_run(**agent: Any) -> AgentRun:
    run = the_run(agent=AgentStatus(**agent) if agent else None)
    run.spec = run.spec.model_copy(update={"session": SessionSpec(mode="resume", name="run-1")})
    run.metadata.resource_version = "20"
    return run


async def test_a_task_contains_all_that_the_runner_needs(world: World) -> None:
    await world.store.append("uid-1", 1, [an_event(1)])
    run = the_run(agent=AgentStatus(acknowledged_input=4, session_id="old"))
    run.spec = AgentRunSpec(
        backend="codex",
        prompt="Fix it.",
        session={"name": "talk"},
        output_schema={"type": "object", "default": None},
        metadata={"ticket": 7, "none": None},
    )
    world.runs.sessions["talk"] = world.runs.sessions["run-1"]
    run.metadata.resource_version = "20"
    await world.see(run)
    answer = await world.call("GET", "/v1/task")
    task = Task.model_validate_json(answer.content)
    assert (task.run_id, task.namespace, task.uid, task.attempt) == ("run-1", "team", "uid-1", 1)
    assert (task.session_id, task.agent_name) == ("session-1", "talk")
    assert (task.acknowledged_input, task.snapshot) == (4, None)
    assert task.spec == run.spec
    assert task.profile == world.runs.profiles["codex"].spec
    assert (task.head.last_seq, task.head.sealed) == (1, False)


async def test_a_task_resumes_from_the_snapshot_of_its_session(world: World) -> None:
    session = world.runs.sessions["run-1"]
    session.status = AgentSessionStatus(session_id="abc")
    assert "snapshot" not in (await world.call("GET", "/v1/task")).json()
    session.status = AgentSessionStatus(session_id="abc", snapshot="uid-0/snapshots/1")
    assert "snapshot" not in (await world.call("GET", "/v1/task")).json()
    await world.see(a_resuming_run())
    task = (await world.call("GET", "/v1/task")).json()
    snapshot = task["snapshot"]
    assert (snapshot["name"], snapshot["sessionID"]) == ("snapshots/1", "abc")
    assert task["acknowledged_input"] == 0


async def test_a_task_without_its_profile_names_it(world: World) -> None:
    world.runs.profiles.clear()
    answer = await world.call("GET", "/v1/task")
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert "AgentProfile codex" in answer.json()["message"]


async def test_a_task_of_a_run_with_a_profile_uses_that_profile(world: World) -> None:
    world.runs.profiles["mine"] = world.runs.profiles.pop("codex")
    run = the_run()
    run.spec = run.spec.model_copy(update={"profile": "mine"})
    run.metadata.resource_version = "11"
    await world.see(run)
    assert (await world.call("GET", "/v1/task")).status_code == 200


async def test_inputs_are_returned_in_order_after_a_number(world: World) -> None:
    await world.see(answered(3, 1, 2))
    assert await ask(world) == ([1, 2, 3], "Active")
    assert await ask(world, after=1, wait_ms=LONG) == ([2, 3], "Active")
    assert await ask(world, after=3) == ([], "Active")


async def test_an_answer_wakes_the_runner(world: World) -> None:
    asking = await begin_asking(world)
    await world.store.append("uid-1", 1, [an_event(1)])
    await world.see(answered(1))
    assert await asking == ([1], "Active")


async def test_an_answer_that_arrives_during_the_read_is_not_missed(world: World) -> None:
    looked = world.store.get_run_by_uid

    async def look_then_change(uid: str) -> RunRow | None:
        row = await looked(uid)
        world.store.get_run_by_uid = looked  # type: ignore[method-assign]
        await world.see(answered(1))
        return row

    world.store.get_run_by_uid = look_then_change  # type: ignore[method-assign]
    assert await ask(world, wait_ms=LONG) == ([1], "Active")


async def test_a_request_to_cancel_wakes_the_runner(world: World) -> None:
    asking = await begin_asking(world)
    run = answered()
    run.spec.desired_state = DesiredState.CANCELLED
    await world.see(run)
    assert await asking == ([], "Cancelled")


async def test_a_deleted_run_is_asked_to_stop(world: World) -> None:
    asking = await begin_asking(world)
    await world.store.record_run(RunRow(the_run(), deleted_at=the_run().created))
    assert await asking == ([], "Cancelled")


async def test_a_run_that_is_being_deleted_is_asked_to_stop(world: World) -> None:
    run = answered()
    metadata = {**run.metadata.model_dump(), "deletion_timestamp": run.created}
    run.metadata = ObjectMeta.model_validate(metadata)
    await world.see(run)
    assert await ask(world) == ([], "Cancelled")


async def test_the_seal_ends_the_wait(world: World) -> None:
    asking = await begin_asking(world)
    await world.store.seal("uid-1", "seal", TS, {"status": "failed"})
    assert await asking == ([], "Active")


async def test_a_run_that_ended_is_not_waited_for(world: World) -> None:
    await world.see(the_run(phase=Phase.FAILED))
    assert await ask(world) == ([], "Active")


async def test_waiting_ends_at_its_timeout(world: World) -> None:
    assert await ask(world, wait_ms=20) == ([], "Active")


async def test_shutting_down_ends_the_wait_cleanly(world: World) -> None:
    asking = [await begin_asking(world) for _ in range(3)]
    world.closing.set()
    assert await asyncio.gather(*asking) == [([], "Active")] * 3
    assert await ask(world, wait_ms=LONG) == ([], "Active")


async def test_a_store_that_closes_under_a_waiting_runner_is_unavailable(world: World) -> None:
    async def asked() -> httpx2.Response:
        return await world.call("GET", f"/v1/inputs?wait_ms={LONG}")

    asking = asyncio.create_task(asked())
    for _ in range(50):
        await asyncio.sleep(0)  # Until it waits.
    await world.store.close()
    assert (await asking).status_code == 503


@pytest.mark.parametrize(
    "query",
    ["after=-1", "after=x", "after=1.5", "after=²", "wait_ms=30001", "wait_ms=", "after=9999999"],
)
async def test_an_invalid_number_is_named(world: World, query: str) -> None:
    answer = await world.call("GET", f"/v1/inputs?{query}")
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["error"]) == (400, "invalid")
    assert query.partition("=")[0] in problem["message"]
