"""Asking people, and going on from snapshots, with the real agents and with large ones."""

import json
from typing import Any

import pytest

from tests.e2e.agents import script
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, Json, eventually, get, kubectl
from tests.e2e.conftest import profile
from tests.e2e.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

MEMORY = [{"name": "ACP_AGENT_MEMORY", "value": ".trivial"}]
GOES_ON = "goes-on"
SMALL = "small-snapshots"
AGENTS = {"codex": "codex", "claude_code": "claude-code"}


@pytest.fixture(autouse=True)
async def profiles(platform: Platform) -> None:
    made = [
        profile(GOES_ON, env=MEMORY, permissionMode="Ask"),
        profile(SMALL, env=MEMORY, sessions={"maxSnapshotSize": "64Ki"}),
    ]
    for name in AGENTS.values():
        found = await get("agentprofile", name)
        assert found is not None
        spec = {**found["spec"], "permissionMode": "Ask"}
        made.append(
            {
                "apiVersion": found["apiVersion"],
                "kind": "AgentProfile",
                "metadata": {"name": f"{name}-asks", "namespace": RUNS},
                "spec": spec,
            }
        )
    await platform.apply(*made)


def said(events: list[Json]) -> str:
    return "\n".join(e["data"]["text"] for e in events if e["type"] == "agent_message")


async def question_of(platform: Platform, run_id: str, name: str = "permission-1-1") -> Json:
    async def look() -> Json:
        run = await get("run", run_id)
        assert run is not None
        question: Json = run.get("status", {}).get("agent", {}).get("question", {})
        return question

    question = await eventually(look, lambda found: found.get("id") == name, 90)
    await eventually(lambda: platform.phase(run_id), lambda phase: phase == "InputRequired", 30)
    return question


async def answer(run_id: str, question: Json, **part: Any) -> None:
    run = await get("run", run_id)
    assert run is not None
    inputs = run["spec"].get("inputs", [])
    message = {"parts": [part]}
    made = {"seq": len(inputs) + 1, "questionID": question["id"], "message": message}
    patch = json.dumps({"spec": {"inputs": [*inputs, made]}})
    await kubectl("patch", "run", run_id, "-n", RUNS, "--type=merge", "-p", patch)


async def a_real_run(platform: Platform, backend: str, **more: Any) -> str:
    steps = script(
        {"say": "I will write a file."},
        {"shell": "printf 'made\\n' > made.txt", "escalated": True},
        {"say": "That is all."},
    )
    spawned = await platform.door.call(
        "spawn_run", backend=backend, profile=f"{AGENTS[backend]}-asks", role="worker",
        prompt=steps, workspace={"git": {"url": platform.repository, "ref": "main"}}, **more,
    )  # fmt: skip
    return str(spawned["run_id"])


@pytest.mark.parametrize("backend", sorted(AGENTS))
async def test_a_real_agent_asks_and_does_what_it_is_allowed(
    platform: Platform, backend: str
) -> None:
    run_id = await a_real_run(platform, backend)
    question = await question_of(platform, run_id)
    assert "made.txt" in question["text"]
    allowed = next(o for o in question["options"] if o["name"].startswith("Yes"))
    await answer(run_id, question, type="data", data={"option_id": allowed["id"]})
    run, events = await platform.door.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    check_journal(events, "completed")
    assert run["result"]["files_changed"] == 1


@pytest.mark.parametrize("backend", sorted(AGENTS))
async def test_a_real_agent_that_is_refused_leaves_a_run_that_completes(
    platform: Platform, backend: str
) -> None:
    run_id = await a_real_run(platform, backend)
    question = await question_of(platform, run_id)
    refusing = next(o for o in question["options"] if o["name"].startswith("No"))
    await answer(run_id, question, type="text", text=refusing["name"])
    run, events = await platform.door.finish(run_id)
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert not run["result"].get("files_changed")


@pytest.mark.parametrize("backend", sorted(AGENTS))
async def test_a_real_agent_goes_on_in_another_pod_with_what_it_was_told(
    platform: Platform, backend: str
) -> None:
    run_id = await a_real_run(platform, backend, timeouts={"idle_timeout_seconds": 20})
    question = await question_of(platform, run_id)
    await eventually(lambda: get("pod", f"{run_id}-1"), lambda found: found is None, 90)
    again = script({"shell": "ls", "escalated": True}, {"say": "The end."})
    await answer(run_id, question, type="text", text=again)
    if backend == "codex":
        # It asks for leave again, for another thing.
        question = await question_of(platform, run_id, "permission-2-1")
        await answer(run_id, question, type="text", text=question["options"][0]["id"])
    run, events = await platform.door.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 2), run
    check_journal(events, "completed")
    assert "The end." in said(events)


@pytest.mark.parametrize("backend", sorted(AGENTS))
async def test_a_real_agent_is_continued_where_it_ended(platform: Platform, backend: str) -> None:
    edit = script({"shell": "printf 'one\\n' > one.txt"}, {"say": "First."})
    spawned = await platform.door.call(
        "spawn_run", backend=backend, role="worker", prompt=edit,
        workspace={"git": {"url": platform.repository, "ref": "main"}},
    )  # fmt: skip
    first, _ = await platform.door.finish(spawned["run_id"])
    assert first["status"] == "completed", first
    more = script({"shell": "cat one.txt && printf 'two\\n' > two.txt"}, {"say": "Second."})
    continued = await platform.door.call(
        "continue_run", run_id=first["run_id"],
        input_message={"role": "user", "parts": [{"type": "text", "text": more}]},
    )  # fmt: skip
    run, events = await platform.door.finish(continued["run_id"])
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert "First." not in said(events)
    shown = [e["data"] for e in events if e["type"] == "command_finished"]
    assert [one["exit_code"] for one in shown] == [0]
    assert "one" in shown[0]["output"]
    assert run["result"]["files_changed"] == 1
    # The same conversation, not another one.
    ids = [(await get("run", r["run_id"]) or {})["status"]["agent"]["sessionID"]
           for r in (first, run)]  # fmt: skip
    assert ids[0] == ids[1]


async def test_answer_is_worked_with_on_the_workspace_as_it_was(platform: Platform) -> None:
    run_id = await platform.trivial(
        ["run", "echo half > half.txt; git add half.txt"], ["run", "mkdir d; echo x > d/loose"],
        ["ask", "May I?"], ["run", "git status --short -uall; git branch --show-current"],
        profile=GOES_ON, timeouts={"idle_timeout_seconds": 20},
        workspace={"git": {"url": platform.repository, "ref": "main"}},
    )  # fmt: skip
    question = await question_of(platform, run_id)
    await eventually(lambda: get("pod", f"{run_id}-1"), lambda found: found is None, 90)
    await answer(run_id, question, type="text", text="yes")
    run, events = await platform.door.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 2), run
    check_journal(events, "completed")
    shown = [e["data"]["output"] for e in events if e["type"] == "command_finished"][-1]
    assert sorted(shown.split("\n")) == ["", "?? d/loose", "?? half.txt", f"agentrun/{run_id}"]
    assert run["result"]["files_changed"] == 2


async def test_snapshot_that_is_too_large_is_named_and_the_run_completes(
    platform: Platform,
) -> None:
    run_id = await platform.trivial(
        ["run", "head -c 200000 /dev/urandom > large"], ["say", "done"], profile=SMALL
    )
    run, events = await platform.door.finish(run_id)
    assert run["status"] == "completed", run
    seen = await get("run", run_id)
    assert seen is not None
    assert "sessions.maxSnapshotSize" in seen["status"]["agent"]["snapshotError"]
    assert any("maxSnapshotSize" in json.dumps(e["data"]) for e in events)
