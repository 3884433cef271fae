"""The main job: real agents edit a repository, and everybody sees the same."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import script, trivial
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, get, kubectl
from tests.e2e.failing import check_failure
from tests.e2e.platform import Platform

pytestmark = pytest.mark.e2e

EDIT = script(
    {"say": "I will add a file and change another."},
    {"shell": "printf 'hello\\n' > hello.txt && printf 'more\\n' >> README.md"},
    {"say": "Both are done."},
)


@pytest.mark.parametrize("backend", ["codex", "claude_code"])
async def test_an_agent_edits_a_cloned_repository(
    platform: Platform, tmp_path: Path, backend: str
) -> None:
    spawned = await platform.door.call(
        "spawn_run",
        backend=backend,
        role="worker",
        prompt=EDIT,
        workspace={"git": {"url": platform.repository, "ref": "main"}},
        metadata={"ticket": 7},
    )
    assert spawned["status"] == "queued"
    run_id = spawned["run_id"]
    run, events = await platform.door.finish(run_id)

    assert run["status"] == "completed", run
    check_journal(events, "completed")
    kinds = [event["type"] for event in events]
    for expected in ("run_started", "command_started", "command_finished", "agent_message",
                     "artifact_added", "run_completed"):  # fmt: skip
        assert expected in kinds
    finished = [event for event in events if event["type"] == "command_finished"]
    assert [event["data"]["exit_code"] for event in finished] == [0]
    said = [event["data"]["text"] for event in events if event["type"] == "agent_message"]
    assert "Both are done." in said[-1]
    assert "Both are done." in run["result"]["summary"]
    assert run["metadata"] == {"ticket": 7}
    assert run["usage"]["output_tokens"] > 0

    assert run["branch"] == f"agentrun/{run_id}"
    log = await asyncio.to_thread(
        _clone_and_show, platform.repository_from_here, run["branch"], tmp_path / "clone"
    )
    assert run["commit"] in log
    assert "+hello" in log
    assert "+more" in log

    seen = await get("run", run_id)
    assert seen is not None
    status = seen["status"]
    assert status["phase"] == "Completed"
    assert status["result"]["commit"] == run["commit"]
    assert (status["result"]["filesChanged"], status["result"]["insertions"]) == (2, 2)
    row = (await kubectl("get", "runs", run_id, "-n", RUNS, "--no-headers")).split()
    assert row[:3] == [run_id, backend, "Completed"]
    await kubectl("wait", "--for=condition=Finished", f"run/{run_id}", "-n", RUNS, "--timeout=5s")
    transcript = await kubectl("logs", f"{run_id}-1", "-c", "runner", "-n", RUNS)
    assert "Both are done." in transcript
    story = await kubectl("describe", "run", run_id, "-n", RUNS)
    assert "Completed" in story


def _clone_and_show(url: str, branch: str, folder: Path) -> str:
    subprocess.run(
        ["git", "clone", "--quiet", "--branch", branch, url, str(folder)],
        check=True,
        capture_output=True,
    )
    done = subprocess.run(
        ["git", "-C", str(folder), "log", "-p", "origin/main..HEAD"],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.mark.parametrize("backend", ["codex", "claude_code"])
async def test_structured_output_satisfies_its_schema(platform: Platform, backend: str) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
    }
    spawned = await platform.door.call(
        "spawn_run",
        backend=backend,
        role="planner",
        prompt=script({"structured": {"answer": "forty-two"}}),
        output_schema=schema,
    )
    run, events = await platform.door.finish(spawned["run_id"])
    assert run["status"] == "completed", run
    assert run["result"]["structured"] == {"answer": "forty-two"}
    completed = next(event for event in events if event["type"] == "run_completed")
    assert completed["data"]["structured_output"] == {"answer": "forty-two"}
    # Claude Code has a tool for it, Codex says it.
    used = [event["data"]["tool"] for event in events if event["type"] == "tool_finished"]
    assert used == (["StructuredOutput"] if backend == "claude_code" else [])


@pytest.mark.parametrize(
    ("code", "key"),
    [
        pytest.param(
            401,
            "provider-refuses-key",
            id="key-refused",
            marks=pytest.mark.failure("provider-refuses-key"),
        ),
        pytest.param(
            500, "provider-broken", id="broken", marks=pytest.mark.failure("provider-broken")
        ),
        pytest.param(
            429, "provider-limits", id="limits", marks=pytest.mark.failure("provider-limits")
        ),
    ],
)
@pytest.mark.parametrize("backend", ["codex", "claude_code"])
async def test_an_error_of_the_provider_ends_the_run_with_its_message(
    platform: Platform, backend: str, code: int, key: str
) -> None:
    spawned = await platform.door.call(
        "spawn_run",
        backend=backend,
        role="worker",
        prompt=script({"error": code, "message": f"no luck: {code}"}),
    )
    run = await check_failure(platform.door, spawned["run_id"], key)
    assert f"no luck: {code}" in run["message"]
    _, events = await platform.door.finish(spawned["run_id"])
    # The event would ask a person, and nobody would read the answer.
    assert "auth_required" not in {event["type"] for event in events}


async def test_a_run_made_with_kubectl_is_a_run_like_any_other(platform: Platform) -> None:
    manifest: dict[str, Any] = {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": "by-hand", "namespace": RUNS},
        "spec": {"backend": "acp", "profile": "trivial", "prompt": trivial(["say", "hello"])},
    }
    await platform.apply(manifest)
    run, events = await platform.door.finish("by-hand")
    assert run["status"] == "completed"
    assert run["result"]["summary"] == "hello"
    check_journal(events, "completed")
    assert await get("agentsession", "by-hand")


async def test_a_run_is_found_after_its_object_is_gone(platform: Platform) -> None:
    manifest: dict[str, Any] = {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": "short-lived", "namespace": RUNS},
        "spec": {
            "backend": "acp",
            "profile": "trivial",
            "prompt": trivial(["say", "remember me"]),
            "ttlSecondsAfterFinished": 0,
        },
    }
    await platform.apply(manifest)
    run, events = await platform.door.finish("short-lived")
    await platform.gone("run", "short-lived")
    again, same = await platform.door.finish("short-lived")
    assert (again["status"], same) == ("completed", events)
    assert again["result"] == run["result"]
    listed = await platform.door.call("list_runs", limit=50)
    assert "short-lived" in [entry["run_id"] for entry in listed["runs"]]


async def test_the_key_of_the_provider_is_in_the_runner_only(platform: Platform) -> None:
    spawned = await platform.door.call(
        "spawn_run",
        backend="codex",
        role="worker",
        prompt=script({"shell": "env; cat /var/run/secrets/*/* 2>&1; true"}, {"say": "looked"}),
    )
    run, events = await platform.door.finish(spawned["run_id"])
    assert run["status"] == "completed", run
    assert platform.model_key not in str(events)
    pod = await get("pod", run["pod"])
    assert pod is not None
    agent = next(c for c in pod["spec"]["containers"] if c["name"] == "agent")
    assert "secret" not in str(agent).lower().replace("agentrun", "")
