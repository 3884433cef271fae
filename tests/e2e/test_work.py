"""The main job: real agents edit a repository, and everybody sees the same."""

import asyncio
import json
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from dev import product
from tests.e2e.agents import script, trivial
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, apply, get, kubectl
from tests.e2e.failing import check_failure
from tests.e2e.installation import REPOSITORY, Installation, a_run
from tests.failures import promised

pytestmark = pytest.mark.e2e

EDIT = script(
    {"say": "I will add a file and change another."},
    {"shell": "printf 'hello\\n' > hello.txt && printf 'more\\n' >> README.md"},
    {"say": "Both are done."},
)


@pytest.mark.parametrize("backend", ["codex", "claude_code"])
async def test_an_agent_edits_a_cloned_repository(
    platform: Installation, git_url: str, tmp_path: Path, backend: str
) -> None:
    spawned = await platform.client.call(
        "spawn_run",
        backend=backend,
        role="worker",
        prompt=EDIT,
        workspace={"git": {"url": REPOSITORY, "ref": "main"}},
        metadata={"ticket": 7},
    )
    assert spawned["status"] == "queued"
    run_id = spawned["run_id"]
    run, events = await platform.client.finish(run_id)

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
    url = f"{git_url}/demo.git"
    log = await asyncio.to_thread(_clone_and_show, url, run["branch"], tmp_path / "clone")
    assert run["commit"] in log
    assert "+hello" in log
    assert "+more" in log

    status = await platform.status(run_id)
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
async def test_structured_output_satisfies_its_schema(platform: Installation, backend: str) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
    }
    prompt = script({"structured": {"answer": "forty-two"}})
    run_id = await platform.spawn(backend, prompt, role="planner", output_schema=schema)
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    assert run["result"]["structured"] == {"answer": "forty-two"}
    completed = next(event for event in events if event["type"] == "run_completed")
    assert completed["data"]["structured_output"] == {"answer": "forty-two"}
    # Claude Code has a tool for it, Codex says it.
    used = [event["data"]["tool"] for event in events if event["type"] == "tool_finished"]
    assert used == (["StructuredOutput"] if backend == "claude_code" else [])


CODES: dict[str, int] = {
    "provider-refuses-key": 401,
    "provider-broken": 500,
    "provider-limits": 429,
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def in_vain(platform: Installation) -> dict[tuple[str, str], str]:
    """A run for each backend and error, all at once: agents ask their provider again for long."""
    wanted = [(backend, key) for backend in ("codex", "claude_code") for key in CODES]
    prompts = {
        key: script({"error": code, "message": f"no luck: {code}"}) for key, code in CODES.items()
    }
    runs = await asyncio.gather(*(platform.spawn(backend, prompts[key]) for backend, key in wanted))
    return dict(zip(wanted, runs, strict=True))


@promised(*CODES)
@pytest.mark.parametrize("backend", ["codex", "claude_code"])
@pytest.mark.xdist_group("provider-errors")
@pytest.mark.timeout(240)
async def test_an_error_of_the_provider_ends_the_run_with_its_message(
    platform: Installation, in_vain: dict[tuple[str, str], str], backend: str, key: str
) -> None:
    run_id = in_vain[backend, key]
    run = await check_failure(platform, run_id, key)
    assert f"no luck: {CODES[key]}" in run["message"]
    _, events = await platform.client.finish(run_id)
    # The event would ask a person, and nobody would read the answer.
    assert "auth_required" not in {event["type"] for event in events}


async def test_a_run_made_with_kubectl_is_a_run_like_any_other(platform: Installation) -> None:
    name = f"by-hand-{uuid4().hex[:8]}"
    manifest = a_run(name, prompt=trivial(["say", "hello"]))
    await kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    run, events = await platform.client.finish(name)
    assert run["status"] == "completed"
    assert run["result"]["summary"] == "hello"
    check_journal(events, "completed")
    assert await get("agentsession", name)


async def test_a_run_is_found_after_its_object_is_deleted(platform: Installation) -> None:
    name = f"short-lived-{uuid4().hex[:8]}"
    await apply(a_run(name, prompt=trivial(["say", "remember me"]), ttlSecondsAfterFinished=0))
    run, events = await platform.client.finish(name)
    await platform.gone("run", name)
    again, same = await platform.client.finish(name)
    assert (again["status"], same) == ("completed", events)
    assert again["result"] == run["result"]
    assert await platform.find_runs(lambda entry: entry["run_id"] == name)


async def test_the_key_of_the_provider_is_in_the_runner_only(platform: Installation) -> None:
    look = {"shell": "env; cat /var/run/secrets/*/* 2>&1; true"}
    run_id = await platform.spawn("codex", script(look, {"say": "looked"}))
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    assert product.MODEL_KEY not in str(events)
    pod = await get("pod", run["pod"])
    assert pod is not None
    agent = next(c for c in pod["spec"]["containers"] if c["name"] == "agent")
    assert "secret" not in str(agent).lower().replace("agentrun", "")
