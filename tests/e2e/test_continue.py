"""Asking people, and going on from snapshots, with the real agents and with large ones."""

import json
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.agents import script
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, Json, apply, get, merge
from tests.e2e.installation import REPOSITORY, Installation, profile
from tests.events import said

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

MEMORY = [{"name": "ACP_AGENT_MEMORY", "value": ".trivial"}]
GOES_ON = "goes-on"
SMALL = "small-snapshots"
AGENTS = {"codex": "codex", "claude_code": "claude-code"}
WORKSPACE = {"git": {"url": REPOSITORY, "ref": "main"}}
BRIEF = {"idle_timeout_seconds": 5}
"""For a wait whose pod is to end."""
LESS_BRIEF = {"idle_timeout_seconds": 8}
"""For a run that asks once more, and is answered while that pod lives."""


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def profiles(platform: Installation) -> None:
    """Profiles of agents that ask; another process that makes them makes the same."""
    made = [
        profile(GOES_ON, env=MEMORY, permissionMode="Ask"),
        profile(SMALL, env=MEMORY, sessions={"maxSnapshotSize": "64Ki"}),
    ]
    for name in AGENTS.values():
        found = await get("agentprofile", name)
        assert found is not None
        made.append(
            {
                "apiVersion": found["apiVersion"],
                "kind": "AgentProfile",
                "metadata": {"name": f"{name}-continues", "namespace": RUNS},
                "spec": {**found["spec"], "permissionMode": "Ask"},
            }
        )
    await apply(*made)


async def question_of(platform: Installation, run_id: str, name: str = "permission-1-1") -> Json:
    """Wait until a run waits for the answer to a question, and return that."""

    def is_asked(status: Json) -> bool:
        asked = status.get("agent", {}).get("question", {}).get("id")
        return (status.get("phase"), asked) == ("InputRequired", name)

    question: Json = (await platform.until(run_id, is_asked))["agent"]["question"]
    return question


async def answer(platform: Installation, run_id: str, question: Json, **part: Any) -> None:
    inputs = (await platform.run(run_id))["spec"].get("inputs", [])
    message = {"parts": [part]}
    made = {"seq": len(inputs) + 1, "questionID": question["id"], "message": message}
    await merge("run", run_id, {"spec": {"inputs": [*inputs, made]}})


async def a_real_run(platform: Installation, backend: str, **more: Any) -> str:
    steps = script(
        {"say": "I will write a file."},
        {"shell": "printf 'made\\n' > made.txt", "escalated": True},
        {"say": "That is all."},
    )
    return await platform.spawn(
        backend, steps, profile=f"{AGENTS[backend]}-continues", workspace=WORKSPACE, **more
    )


@pytest.mark.parametrize("backend", sorted(AGENTS))
async def test_a_real_agent_asks_and_does_what_it_is_allowed(
    platform: Installation, backend: str
) -> None:
    run_id = await a_real_run(platform, backend)
    question = await question_of(platform, run_id)
    assert "made.txt" in question["text"]
    allowed = next(o for o in question["options"] if o["name"].startswith("Yes"))
    await answer(platform, run_id, question, type="data", data={"option_id": allowed["id"]})
    run, events = await platform.client.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    check_journal(events, "completed")
    assert run["result"]["files_changed"] == 1


@pytest.mark.parametrize("backend", sorted(AGENTS))
async def test_a_real_agent_that_is_refused_leaves_a_run_that_completes(
    platform: Installation, backend: str
) -> None:
    run_id = await a_real_run(platform, backend)
    question = await question_of(platform, run_id)
    refusing = next(o for o in question["options"] if o["name"].startswith("No"))
    await answer(platform, run_id, question, type="text", text=refusing["name"])
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert not run["result"].get("files_changed")


@pytest.mark.parametrize("backend", sorted(AGENTS))
async def test_a_real_agent_continues_in_another_pod_with_the_answer(
    platform: Installation, backend: str
) -> None:
    run_id = await a_real_run(platform, backend, timeouts=LESS_BRIEF)
    question = await question_of(platform, run_id)
    await platform.gone("pod", f"{run_id}-1")
    # Codex's rules allow ls without a question, and Claude Code's do.
    command = "touch again.txt" if backend == "codex" else "ls"
    again = script({"shell": command, "escalated": True}, {"say": "The end."})
    await answer(platform, run_id, question, type="text", text=again)
    if backend == "codex":
        # It asks for leave again, for another thing.
        question = await question_of(platform, run_id, "permission-2-1")
        await answer(platform, run_id, question, type="text", text=question["options"][0]["id"])
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    # On a busy machine the answer to its second question comes after its pod is gone, too.
    assert run["attempts"] == 2 or (backend, run["attempts"]) == ("codex", 3), run
    check_journal(events, "completed")
    assert "The end." in "\n".join(said(events))


@pytest.mark.parametrize("backend", sorted(AGENTS))
async def test_a_real_agent_is_continued_where_it_ended(
    platform: Installation, backend: str
) -> None:
    edit = script({"shell": "printf 'one\\n' > one.txt"}, {"say": "First."})
    first, _ = await platform.client.finish(
        await platform.spawn(backend, edit, workspace=WORKSPACE)
    )
    assert first["status"] == "completed", first
    more = script({"shell": "cat one.txt && printf 'two\\n' > two.txt"}, {"say": "Second."})
    continued = await platform.client.call(
        "continue_run", run_id=first["run_id"],
        input_message={"role": "user", "parts": [{"type": "text", "text": more}]},
    )  # fmt: skip
    run, events = await platform.client.finish(continued["run_id"])
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert "First." not in "\n".join(said(events))
    shown = [e["data"] for e in events if e["type"] == "command_finished"]
    assert [one["exit_code"] for one in shown] == [0]
    assert "one" in shown[0]["output"]
    assert run["result"]["files_changed"] == 1
    # The same conversation, not another one.
    before, after = [await platform.status(one["run_id"]) for one in (first, run)]
    assert before["agent"]["sessionID"] == after["agent"]["sessionID"]


async def test_answer_is_processed_in_the_restored_workspace(platform: Installation) -> None:
    run_id = await platform.trivial(
        ["run", "echo half > half.txt; git add half.txt"], ["run", "mkdir d; echo x > d/loose"],
        ["ask", "May I?"], ["run", "git status --short -uall; git branch --show-current"],
        profile=GOES_ON, timeouts=BRIEF, workspace=WORKSPACE,
    )  # fmt: skip
    question = await question_of(platform, run_id)
    await platform.gone("pod", f"{run_id}-1")
    await answer(platform, run_id, question, type="text", text="yes")
    run, events = await platform.client.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 2), run
    check_journal(events, "completed")
    shown = [e["data"]["output"] for e in events if e["type"] == "command_finished"][-1]
    assert sorted(shown.split("\n")) == ["", "?? d/loose", "?? half.txt", f"agentrun/{run_id}"]
    assert run["result"]["files_changed"] == 2


async def test_snapshot_that_is_too_large_is_named_and_the_run_completes(
    platform: Installation,
) -> None:
    run_id = await platform.trivial(
        ["run", "head -c 200000 /dev/urandom > large"], ["say", "done"], profile=SMALL
    )
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    status = await platform.status(run_id)
    assert "sessions.maxSnapshotSize" in status["agent"]["snapshotError"]
    assert any("maxSnapshotSize" in json.dumps(e["data"]) for e in events)
