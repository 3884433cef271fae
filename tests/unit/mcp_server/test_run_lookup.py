import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentrun.api.events import EventType
from agentrun.api.v1alpha1 import AgentRun
from agentrun.kube.resources import RUNS, SESSIONS
from agentrun.store.base import RunRow
from mcp_server.tools import run_lookup
from mcp_server.tools.run_lookup import choose
from tests.unit.mcp_server.cluster import run, session
from tests.unit.mcp_server.conftest import Bench

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def a_row(name: str, phase: str, updated: int = 0, created: int = 0) -> RunRow:
    made = AgentRun.model_validate(run(name, {"phase": phase}))
    made.metadata.creation_timestamp = START + timedelta(seconds=created)
    return RunRow(made, updated_at=START + timedelta(seconds=updated))


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        pytest.param([], None, id="none"),
        pytest.param(
            [a_row("a", "Completed", 9), a_row("b", "Queued", 8), a_row("c", "Running", 1)],
            "c",
            id="active-first",
        ),
        pytest.param(
            [a_row("a", "Completed", 9), a_row("b", "Starting", 1)], "b", id="then-queued"
        ),
        pytest.param([a_row("a", "Failed", 1), a_row("b", "Completed", 2)], "b", id="then-newest"),
        pytest.param(
            [a_row("a", "Failed", 1, 5), a_row("b", "Failed", 1, 4)], "a", id="then-created-last"
        ),
        pytest.param(
            [a_row("a", "Cancelling", 1), a_row("b", "Queued", 2)], "a", id="cancelling-is-active"
        ),
    ],
)
def test_an_agents_name_means_its_active_run(rows: list[RunRow], chosen: str | None) -> None:
    found = choose(rows)
    assert (found and found.run.metadata.name) == chosen


@pytest.mark.parametrize("tool", ["get_run", "poll_events", "cancel_run"])
@pytest.mark.parametrize(
    ("reference", "text"),
    [
        pytest.param({}, "Provide run_id or agent_name", id="nothing"),
        pytest.param({"run_id": " ", "agent_name": ""}, "Provide run_id or agent_name", id="blank"),
        pytest.param({"run_id": "run-x"}, "Unknown run_id: run-x.", id="run"),
        pytest.param({"run_id": "No Name!"}, "Unknown run_id: No Name!.", id="no-name"),
        pytest.param({"agent_name": "eve"}, "Unknown agent_name: eve.", id="agent"),
        pytest.param(
            {"agent_name": "eve", "cwd": "docs"},
            "Unknown agent_name in cwd docs: eve.",
            id="in-cwd",
        ),
        pytest.param(
            {"agent_name": "idle"}, "No runs found for agent_name: idle", id="agent-without-runs"
        ),
        pytest.param(
            {"agent_name": "bob", "cwd": "docs"},
            "No runs found for agent_name in cwd docs: bob",
            id="agent-elsewhere",
        ),
        pytest.param(
            {"run_id": "x", "namespace": "other"}, "Namespace other is not served", id="namespace"
        ),
    ],
)
async def test_a_reference_to_nothing_is_refused(
    bench: Bench, tool: str, reference: dict[str, Any], text: str
) -> None:
    await bench.add(SESSIONS, "team-a", session("idle"))
    await bench.spawn(nickname="bob")
    more = {"after_seq": 0} if tool == "poll_events" else {}
    assert (await bench.refused(tool, **reference, **more)).startswith(text)


async def test_a_run_is_found_by_nickname_name_and_session_id(bench: Bench) -> None:
    made = await bench.spawn(nickname="Big Bob")
    for reference in ("Big Bob", "big-bob", made["session_id"]):
        shown = await bench.call("get_run", agent_name=reference)
        assert shown["run_id"] == made["run_id"]


async def test_a_run_id_wins_over_an_agents_name(bench: Bench) -> None:
    first, second = await bench.spawn(nickname="a"), await bench.spawn(nickname="b")
    shown = await bench.call("get_run", run_id=f" {first['run_id']} ", agent_name="b")
    assert shown["run_id"] == first["run_id"] != second["run_id"]


async def test_a_folder_chooses_among_an_agents_runs(bench: Bench) -> None:
    made = await bench.spawn(nickname="bob", cwd="docs")
    shown = await bench.call("get_run", agent_name="bob", cwd="/workspace/docs/")
    assert (shown["run_id"], shown["cwd"]) == (made["run_id"], "/workspace/docs")


async def a_run_of_bob(bench: Bench, name: str, phase: str, cwd: str = "/workspace") -> None:
    made = run(name, {"phase": phase}, session={"name": "bob"}, workspace={"cwd": cwd})
    await bench.run_sync.observe(bench.cluster.add(RUNS, "team-a", made))


async def test_a_live_run_elsewhere_hides_none_in_the_folder(bench: Bench) -> None:
    await bench.add(SESSIONS, "team-a", session("bob"))
    await a_run_of_bob(bench, "run-1", "Completed", "/workspace/docs")
    await a_run_of_bob(bench, "run-2", "Running", "/workspace/src")
    assert (await bench.call("get_run", agent_name="bob", cwd="docs"))["run_id"] == "run-1"
    message = {"parts": [{"type": "text", "text": "Hello."}]}
    sent = await bench.call("send_agent_message", to_agent_name="bob", cwd="docs", message=message)
    assert sent["to_agent_name"] == "bob"


async def test_a_long_queue_does_not_hide_the_active_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lookup, "_NEWEST", 2)
    await a_run_of_bob(bench, "run-1", "Running")
    for number in (2, 3, 4):
        await a_run_of_bob(bench, f"run-{number}", "Queued")
    assert (await bench.call("get_run", agent_name="bob"))["run_id"] == "run-1"


async def test_a_run_of_kubectl_is_found_before_the_watch_shows_it(bench: Bench) -> None:
    made = run("run-kubectl")
    bench.cluster.add(RUNS, "team-a", made)
    shown = await bench.call("get_run", run_id="run-kubectl")
    assert (shown["agent_name"], shown["session_id"]) == ("run-kubectl", "run-kubectl")


async def test_get_run_shows_all_that_is_known(bench: Bench) -> None:
    made = await bench.spawn(metadata={"a": 1}, prompt="p" * 500)
    name = made["run_id"]
    await bench.say(name, (EventType.AGENT_MESSAGE, {"text": "Done."}))
    status = {
        "phase": "Completed",
        "reason": "Completed",
        "message": "Fine.",
        "podName": f"{name}-1",
        "nodeName": "node",
        "attempts": 1,
        "completionTime": "2026-11-23T12:05:00Z",
        "agent": {"usage": {"inputTokens": 10, "costUSD": "0.5"}},
        "result": {"summary": "Did it.", "branch": "b", "commit": "c", "filesChanged": 2},
        "conditions": [{"type": "Finished", "status": "True", "reason": "Completed"}],
    }
    await bench.run_sync.observe(bench.cluster.set_status("team-a", name, **status))
    shown = await bench.call("get_run", run_id=name)
    assert shown.pop("updated_at").endswith("Z")
    assert shown == {
        "run_id": name,
        "uid": (await bench.row(name)).run.metadata.uid,
        "namespace": "team-a",
        "backend": "codex",
        "role": "worker",
        "session_id": made["session_id"],
        "agent_name": name,
        "status": "completed",
        "reason": "Completed",
        "message": "Fine.",
        "summary": "Run completed",
        "started_at": "2026-11-23T12:00:00.000Z",
        "completed_at": "2026-11-23T12:05:00.000Z",
        "cancelled_at": None,
        "last_seq": 2,
        "prompt": "p" * 500,
        "cwd": "/workspace",
        "metadata": {"a": 1},
        "remote_ref": None,
        "question": None,
        "result": {
            "summary": "Did it.",
            "structured": None,
            "branch": "b",
            "commit": "c",
            "pushed": None,
            "files_changed": 2,
            "insertions": None,
            "deletions": None,
            "left_out": None,
        },
        "error": None,
        "usage": {
            "input_tokens": 10,
            "cached_input_tokens": None,
            "output_tokens": None,
            "total_tokens": None,
            "cost_usd": "0.5",
        },
        "branch": "b",
        "commit": "c",
        "pod": f"{name}-1",
        "node": "node",
        "attempts": 1,
        "conditions": [
            {"type": "Finished", "status": "True", "reason": "Completed", "message": ""}
        ],
        "requested_by": bench.caller.username,
        "resumed_from_run_id": None,
        "parent_run_id": None,
        "deleted_at": None,
        "unreadable": None,
    }


async def test_get_run_waits_for_a_question_that_is_known_to_come(bench: Bench) -> None:
    run_id = (await bench.spawn())["run_id"]
    await bench.say(run_id, (EventType.INPUT_REQUIRED, {"text": "May I?"}))
    asking = asyncio.create_task(bench.call("get_run", run_id=run_id))
    done, _ = await asyncio.wait({asking}, timeout=0.05)
    assert not done
    agent = {"state": "InputRequired", "question": {"id": "q1", "text": "May I?"}}
    bench.cluster.set_status("team-a", run_id, phase="Running", agent=agent)
    shown = await asyncio.wait_for(asking, 5)
    assert (shown["status"], shown["question"]["text"]) == ("input_required", "May I?")


async def test_get_run_shows_the_question_of_a_waiting_run(bench: Bench) -> None:
    made = await bench.spawn()
    question = {"id": "q1", "text": "May I?", "options": [{"id": "y", "name": "Yes"}]}
    status = {"phase": "InputRequired", "agent": {"question": question}}
    await bench.run_sync.observe(bench.cluster.set_status("team-a", made["run_id"], **status))
    shown = await bench.call("get_run", run_id=made["run_id"])
    assert shown["status"] == "input_required"
    assert shown["question"] == question | {"asked_at": None, "kind": "input"}


async def test_runs_are_listed_newest_first_and_by_page(bench: Bench) -> None:
    names = [(await bench.spawn())["run_id"] for _ in range(3)]
    first = await bench.call("list_runs", limit=2)
    rest = await bench.call("list_runs", limit=2, cursor=first["next_cursor"])
    listed = [shown["run_id"] for shown in first["runs"] + rest["runs"]]
    assert listed == sorted(names, reverse=True)
    assert rest["next_cursor"] is None


async def test_a_list_shows_the_beginning_of_prompts(bench: Bench) -> None:
    await bench.spawn(prompt="p" * 500)
    (shown,) = (await bench.call("list_runs"))["runs"]
    assert shown["prompt"] == "p" * 200 + "…"


@pytest.mark.parametrize(
    ("which", "count"),
    [
        pytest.param({}, 3, id="all"),
        pytest.param({"status": "running"}, 1, id="running-by-its-journal"),
        pytest.param({"status": "queued"}, 1, id="queued"),
        pytest.param({"status": "completed"}, 1, id="completed"),
        pytest.param({"status": "failed"}, 0, id="none-failed"),
        pytest.param({"backend": "codex"}, 3, id="backend"),
        pytest.param({"backend": "gemini"}, 0, id="other-backend"),
        pytest.param({"cwd": "/workspace/docs"}, 1, id="folder"),
        pytest.param({"cwd": "docs"}, 1, id="relative-folder"),
        pytest.param({"cwd": "/workspace"}, 2, id="whole-workspace"),
        pytest.param({"namespace": "team-b"}, 0, id="other-namespace"),
        pytest.param({"status": "queued", "limit": 1}, 1, id="beyond-the-first-page"),
    ],
)
async def test_runs_are_listed_by_what_is_asked(
    bench: Bench, which: dict[str, Any], count: int
) -> None:
    await bench.spawn(cwd="docs")
    running, completed = await bench.spawn(), await bench.spawn()
    await bench.say(running["run_id"], (EventType.STATUS_CHANGED, {"status": "running"}))
    ended = bench.cluster.set_status("team-a", completed["run_id"], phase="Completed")
    await bench.run_sync.observe(ended)
    assert len((await bench.call("list_runs", **which))["runs"]) == count


async def test_a_made_up_cursor_is_refused(bench: Bench) -> None:
    text = await bench.refused("list_runs", cursor="abc")
    assert text.startswith("Unknown cursor: abc.")


async def test_a_listed_folder_outside_the_workspace_is_refused(bench: Bench) -> None:
    await bench.spawn()
    assert "cwd must be inside" in await bench.refused("list_runs", cwd="/etc")


async def test_a_run_in_a_folder_outside_the_workspace_hides_no_others(bench: Bench) -> None:
    await bench.spawn()
    made = run("astray", workspace={"cwd": "/etc"})
    await bench.run_sync.observe(bench.cluster.add(RUNS, "team-a", made))
    assert (await bench.call("get_run", run_id="astray"))["cwd"] == "/etc"
    assert len((await bench.call("list_runs"))["runs"]) == 2
    assert len((await bench.call("list_runs", cwd="/workspace"))["runs"]) == 1
