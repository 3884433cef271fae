"""continue_run: an answer to a waiting run, another run of a conversation, the same again."""

import asyncio
from typing import Any

import pytest

from agentrun.api.events import EventType
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import RUNS, SESSIONS
from tests.unit.mcp_server.cluster import run, session
from tests.unit.mcp_server.conftest import Bench, eventually

YES: dict[str, Any] = {"role": "user", "parts": [{"type": "text", "text": "Yes."}]}
NO: dict[str, Any] = {"role": "user", "parts": [{"type": "text", "text": "No."}]}
QUESTION = {"id": "q1", "text": "May I?", "options": [{"id": "y", "name": "Yes"}]}
WAITS: dict[str, Any] = {
    "phase": "InputRequired",
    "attempts": 1,
    "agent": {"state": "InputRequired", "question": QUESTION},
}
KEPT: dict[str, Any] = {"snapshot": "uid-0/snapshots/1", "sessionID": "abc"}


def inputs(bench: Bench, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bench.cluster.objects["agentruns", "team-a", run_id]["spec"].get(
        "inputs", []
    )
    return found


def leave(bench: Bench, name: str, **status: Any) -> None:
    """Let the operator write what a session holds."""
    bench.cluster.objects["agentsessions", "team-a", name]["status"] = status


async def in_phase(bench: Bench, **status: Any) -> str:
    made = await bench.spawn()
    run_id: str = made["run_id"]
    await bench.run_sync.observe(bench.cluster.set_status("team-a", run_id, **status))
    return run_id


async def test_running_is_reported_only_after_the_agent_received_the_answer(bench: Bench) -> None:
    run_id = await in_phase(bench, **WAITS)
    call = bench.call("continue_run", run_id=run_id, input_message=YES, wait_ms=30_000)
    asking = asyncio.create_task(call)

    async def is_given() -> bool:
        return bool(inputs(bench, run_id))

    await eventually(is_given)
    assert not asking.done()
    agent = {"state": "Working", "acknowledgedInput": 1}
    bench.cluster.set_status("team-a", run_id, phase="Running", agent=agent)
    answer = await asking
    made = await bench.call("get_run", run_id=run_id)
    assert answer == {
        "run_id": run_id,
        "status": "running",
        "session_id": made["session_id"],
        "agent_name": run_id,
        "mode": "live",
        "resumed_from_run_id": None,
    }
    (given,) = inputs(bench, run_id)
    assert (given["seq"], given["questionID"]) == (1, "q1")
    assert given["message"]["parts"] == YES["parts"]


@pytest.mark.parametrize(
    ("phase", "status"),
    [("InputRequired", "input_required"), ("AuthRequired", "auth_required")],
)
async def test_an_answer_that_is_not_acknowledged_yet_is_not_called_running(
    bench: Bench, phase: str, status: str
) -> None:
    run_id = await in_phase(bench, **WAITS | {"phase": phase})
    answer = await bench.call("continue_run", run_id=run_id, input_message=YES, wait_ms=0)
    assert answer["status"] == status
    await bench.say(run_id, (EventType.STATUS_CHANGED, {"status": "running"}))
    answer = await bench.call("continue_run", run_id=run_id, input_message=YES, wait_ms=0)
    assert answer["status"] == status
    bench.cluster.set_status("team-a", run_id, phase="Queued", attempts=2)

    async def is_queued() -> bool:
        return (await bench.row(run_id)).run.attempts == 2

    await eventually(is_queued)
    answer = await bench.call("continue_run", run_id=run_id, input_message=YES, wait_ms=0)
    assert answer["status"] == "queued"


async def test_a_repeated_answer_is_recorded_once_until_it_is_acknowledged(bench: Bench) -> None:
    run_id = await in_phase(bench, **WAITS)
    for _ in range(2):
        await bench.call("continue_run", run_id=run_id, input_message=YES, wait_ms=0)
    assert [one["seq"] for one in inputs(bench, run_id)] == [1]
    agent = {**WAITS["agent"], "acknowledgedInput": 1}
    await bench.run_sync.observe(bench.cluster.set_status("team-a", run_id, agent=agent))
    await bench.call("continue_run", run_id=run_id, input_message=YES, wait_ms=0)
    assert [one["seq"] for one in inputs(bench, run_id)] == [1, 2]


@pytest.mark.parametrize(
    "since",
    [
        pytest.param({"phase": "Running"}, id="it-works"),
        pytest.param({**WAITS, "agent": {**WAITS["agent"], "acknowledgedInput": 1}}, id="it-asks"),
        pytest.param({"phase": "Completed"}, id="it-ended"),
        pytest.param({"phase": "Cancelled"}, id="it-was-cancelled"),
    ],
)
async def test_an_answer_with_an_idempotency_key_is_recorded_once(
    bench: Bench, since: dict[str, Any]
) -> None:
    run_id = await in_phase(bench, **WAITS)
    call = {"run_id": run_id, "input_message": YES, "idempotency_key": "k", "wait_ms": 0}
    await bench.call("continue_run", **call)
    await bench.run_sync.observe(bench.cluster.set_status("team-a", run_id, **since))
    again = await bench.call("continue_run", **call)
    assert (again["run_id"], again["mode"]) == (run_id, "live")
    assert [one["seq"] for one in inputs(bench, run_id)] == [1]
    error = await bench.refused("continue_run", **call | {"input_message": NO})
    assert error.startswith("idempotency_key was used before with another answer")


async def test_a_concurrent_answer_by_kubectl_is_kept(bench: Bench) -> None:
    run_id = await in_phase(bench, **WAITS)
    other = [{"seq": 1, "questionID": "q1", "message": NO}]
    bench.cluster.before_patch = lambda: bench.cluster.set_spec("team-a", run_id, inputs=other)
    await bench.call("continue_run", run_id=run_id, input_message=YES, wait_ms=0)
    assert [one["seq"] for one in inputs(bench, run_id)] == [1, 2]


async def test_an_agent_is_answered_by_its_name(bench: Bench) -> None:
    made = await bench.spawn(nickname="Bob")
    status = bench.cluster.set_status("team-a", made["run_id"], **WAITS)
    await bench.run_sync.observe(status)
    answer = await bench.call("continue_run", agent_name="Bob", input_message=YES, wait_ms=0)
    assert (answer["run_id"], answer["agent_name"]) == (made["run_id"], "bob")


@pytest.mark.parametrize("phase", ["Completed", "Failed"])
async def test_a_run_that_has_ended_is_continued_by_another(bench: Bench, phase: str) -> None:
    given: dict[str, Any] = {
        "nickname": "bob",
        "role": "planner",
        "output_schema": {"type": "object"},
        "metadata": {"ticket": 7},
        "timeouts": {"active_deadline_seconds": 60},
        "workspace": {"git": {"url": "https://example.com/x.git"}},
    }
    old = (await bench.spawn(**given))["run_id"]
    leave(bench, "bob", **KEPT)
    await bench.run_sync.observe(bench.cluster.set_status("team-a", old, phase=phase))
    answer = await bench.call("continue_run", run_id=old, input_message=YES)
    assert (answer["status"], answer["mode"]) == ("queued", "resume")
    assert (answer["resumed_from_run_id"], answer["agent_name"]) == (old, "bob")
    before = bench.cluster.objects["agentruns", "team-a", old]["spec"]
    spec = bench.cluster.objects["agentruns", "team-a", answer["run_id"]]["spec"]
    assert spec["session"] == {"mode": "resume", "name": "bob"}
    assert (spec["resumedFrom"], spec["inputMessage"]["parts"]) == (old, YES["parts"])
    assert "prompt" not in spec
    for same in ("backend", "role", "profile", "outputSchema", "metadata", "timeouts", "workspace"):
        assert spec[same] == before[same]
    shown = await bench.call("get_run", run_id=answer["run_id"])
    assert shown["resumed_from_run_id"] == old
    assert shown["requested_by"] == bench.caller.username


async def test_a_run_is_continued_after_its_resource_is_deleted(bench: Bench) -> None:
    old = await in_phase(bench, phase="Completed")
    leave(bench, old, **KEPT)
    bench.cluster.remove(RUNS, "team-a", old)
    answer = await bench.call("continue_run", run_id=old, input_message=YES)
    assert answer["mode"] == "resume"


async def test_a_run_is_continued_during_its_completion(bench: Bench) -> None:
    """The operator has not yet put the snapshot into the session, which the run still holds."""
    old = await in_phase(bench, phase="Completed")
    leave(bench, old, activeRun={"name": old, "uid": "uid-9"})
    answers = [await bench.call("continue_run", run_id=old, input_message=YES) for _ in range(3)]
    assert len({answer["run_id"] for answer in answers}) == 3


async def test_a_repeated_call_with_its_key_creates_no_second_run(bench: Bench) -> None:
    old = await in_phase(bench, phase="Completed")
    leave(bench, old, **KEPT)
    call = {"run_id": old, "input_message": YES, "idempotency_key": "k"}
    first = await bench.call("continue_run", **call)
    assert (await bench.call("continue_run", **call))["run_id"] == first["run_id"]
    error = await bench.refused("continue_run", **call | {"input_message": NO})
    assert error.startswith("idempotency_key was used before with other arguments")


@pytest.mark.parametrize("phase", ["Completed", "Failed", "Cancelled"])
async def test_a_run_is_repeated_from_the_start(bench: Bench, phase: str) -> None:
    old = await in_phase(bench, phase=phase)
    answer = await bench.call("continue_run", run_id=old, from_start=True)
    assert (answer["mode"], answer["resumed_from_run_id"]) == ("from_start", old)
    assert answer["agent_name"] == answer["run_id"]
    spec = bench.cluster.objects["agentruns", "team-a", answer["run_id"]]["spec"]
    assert (spec["prompt"], spec["session"]["mode"]) == ("Work.", "new")
    assert spec["session"]["name"] in [
        name for (plural, _, name) in bench.cluster.objects if plural == "agentsessions"
    ]
    more = await bench.call("continue_run", run_id=old, from_start=True, input_message=YES)
    spec = bench.cluster.objects["agentruns", "team-a", more["run_id"]]["spec"]
    assert (spec["prompt"], spec["inputMessage"]["parts"]) == ("Work.", YES["parts"])


async def test_a_refused_repetition_leaves_no_session_behind(bench: Bench) -> None:
    old = await in_phase(bench, phase="Failed")
    bench.cluster.faults["create", "agentruns"] = [ApiError(403, "Forbidden", "quota")]
    await bench.refused("continue_run", run_id=old, from_start=True)
    names = [name for (plural, _, name) in bench.cluster.objects if plural == "agentsessions"]
    assert names == [old]


@pytest.mark.parametrize(
    ("status", "arguments", "says"),
    [
        pytest.param(
            {"phase": "Running"},
            {},
            "run is not awaiting additional input: running",
            id="a-run-that-works",
        ),
        pytest.param(
            {"phase": "Cancelling"},
            {},
            "run is not awaiting additional input: cancelling",
            id="a-run-that-is-being-stopped",
        ),
        pytest.param(
            {"phase": "Cancelled"},
            {},
            "run is already terminal: cancelled. Call continue_run with from_start",
            id="a-cancelled-run",
        ),
        pytest.param(
            {"phase": "Running"},
            {"from_start": True},
            "run has not ended yet: running. Call cancel_run",
            id="the-start-of-a-run-that-works",
        ),
        pytest.param(
            WAITS,
            {"input_message": None},
            "input_message is required unless from_start is true",
            id="no-answer",
        ),
        pytest.param(
            WAITS,
            {"input_message": {"parts": [{"type": "text"}]}},
            "input_message.parts[0] is of type text but has no text",
            id="an-empty-answer",
        ),
        pytest.param(
            {"phase": "Failed"},
            {},
            "run failed before the backend session became resumable: run-",
            id="a-session-without-a-snapshot",
        ),
    ],
)
async def test_a_run_that_cannot_be_continued_is_refused_with_the_next_step(
    bench: Bench, status: dict[str, Any], arguments: dict[str, Any], says: str
) -> None:
    run_id = await in_phase(bench, **status)
    call = {"run_id": run_id, "input_message": YES} | arguments
    assert (await bench.refused("continue_run", **call)).startswith(says)


async def test_a_lost_conversation_is_named(bench: Bench) -> None:
    old = await in_phase(bench, phase="Failed")
    leave(bench, old, **KEPT, snapshotError="It was too large.")
    error = await bench.refused("continue_run", run_id=old, input_message=YES)
    assert "It was too large." in error
    await bench.remove(SESSIONS, "team-a", old)
    error = await bench.refused("continue_run", run_id=old, input_message=YES)
    assert error.startswith(f"Unknown session_id: {old}")


async def test_a_session_of_the_same_name_is_not_confused_with_the_runs_own(bench: Bench) -> None:
    old = await in_phase(bench, phase="Completed")
    await bench.remove(SESSIONS, "team-a", old)
    await bench.add(SESSIONS, "team-a", session(old, **KEPT))
    error = await bench.refused("continue_run", run_id=old, input_message=YES)
    assert error.startswith(f"Unknown session_id: {old}")


async def test_the_number_of_answers_of_a_run_is_limited(bench: Bench) -> None:
    run_id = await in_phase(bench, **WAITS)
    many = [{"seq": seq, "message": NO} for seq in range(1, 101)]
    bench.cluster.set_spec("team-a", run_id, inputs=many)
    error = await bench.refused("continue_run", run_id=run_id, input_message=YES)
    assert error.startswith(f"run {run_id} has had 100 answers")


async def test_a_lost_response_of_the_api_server_causes_no_second_answer(bench: Bench) -> None:
    run_id = await in_phase(bench, **WAITS)
    bench.cluster.faults["patch", "agentruns"] = [ApiUnavailableError("connection reset")]
    await bench.refused("continue_run", run_id=run_id, input_message=YES)
    await bench.call("continue_run", run_id=run_id, input_message=YES, wait_ms=0)
    assert [one["seq"] for one in inputs(bench, run_id)] == [1]


async def test_a_run_created_with_kubectl_without_a_question_id_is_answered(bench: Bench) -> None:
    status = {"phase": "InputRequired", "agent": {"state": "InputRequired"}}
    bench.cluster.add(RUNS, "team-a", run("plain", status))
    await bench.add(SESSIONS, "team-a", session("plain"))
    await bench.call("continue_run", run_id="plain", input_message=YES, wait_ms=0)
    assert "questionID" not in inputs(bench, "plain")[0]


async def test_a_call_at_the_event_of_the_end_waits_for_the_end(bench: Bench) -> None:
    run_id = await in_phase(bench, phase="Running", attempts=1)
    leave(bench, run_id, **KEPT)
    await bench.say(run_id, (EventType.RUN_COMPLETED, {"final_response": "Done."}))
    call = bench.call("continue_run", run_id=run_id, input_message=YES)
    asking = asyncio.create_task(call)
    done, _ = await asyncio.wait({asking}, timeout=0.05)
    assert not done
    bench.cluster.set_status("team-a", run_id, phase="Completed", attempts=1)
    answer = await asyncio.wait_for(asking, 20)
    assert (answer["mode"], answer["resumed_from_run_id"]) == ("resume", run_id)


async def test_a_run_whose_phase_waits_is_answered_though_its_journal_is_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_server.tools.continuing._SETTLE_SECONDS", 0.1)
    run_id = await in_phase(bench, **WAITS)
    await bench.say(run_id, (EventType.STATUS_CHANGED, {"status": "running"}))
    await bench.call("continue_run", run_id=run_id, input_message=YES, wait_ms=0)
    assert len(inputs(bench, run_id)) == 1


async def test_a_phase_that_is_behind_the_agent_takes_no_answer_to_a_later_question(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_server.tools.continuing._SETTLE_SECONDS", 0.1)
    agent = {"state": "Working", "acknowledgedInput": 1}
    run_id = await in_phase(bench, phase="InputRequired", attempts=1, agent=agent)
    await bench.say(run_id, (EventType.STATUS_CHANGED, {"status": "running"}))
    error = await bench.refused("continue_run", run_id=run_id, input_message=YES, wait_ms=0)
    assert error.startswith("run is not awaiting additional input: running.")
    assert inputs(bench, run_id) == []


async def test_a_question_is_shown_though_the_journal_is_behind(bench: Bench) -> None:
    run_id = await in_phase(bench, **WAITS)
    await bench.say(run_id, (EventType.STATUS_CHANGED, {"status": "running"}))
    shown = await bench.call("get_run", run_id=run_id)
    assert (shown["status"], shown["question"]["id"]) == ("input_required", "q1")
    await bench.call("continue_run", run_id=run_id, input_message=YES, wait_ms=0)
    shown = await bench.call("get_run", run_id=run_id)
    assert shown["status"] == "running", "the journal tells more of an answer than the phase"


@pytest.mark.parametrize(
    ("reason", "last"),
    [
        ("Working", (EventType.RUN_COMPLETED, {"final_response": "Done."})),
        ("Finishing", (EventType.STATUS_CHANGED, {"status": "running"})),
    ],
)
@pytest.mark.parametrize("arguments", [{"input_message": YES}, {"from_start": True}])
async def test_a_run_whose_agent_has_finished_is_continued_once_it_has_ended(
    bench: Bench, reason: str, last: tuple[EventType, dict[str, Any]], arguments: dict[str, Any]
) -> None:
    run_id = await in_phase(bench, phase="Running", reason=reason, attempts=1)
    leave(bench, run_id, **KEPT)
    await bench.say(run_id, last)
    asking = asyncio.create_task(bench.call("continue_run", run_id=run_id, **arguments))
    done, _ = await asyncio.wait({asking}, timeout=0.05)
    assert not done
    bench.cluster.set_status("team-a", run_id, phase="Completed", attempts=1)
    answer = await asyncio.wait_for(asking, 20)
    assert answer["resumed_from_run_id"] == run_id
