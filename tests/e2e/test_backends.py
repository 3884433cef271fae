"""
The other local agents, as real programs in pods: opencode and the Gemini CLI.

They are slower and larger than Codex and Claude Code, so they have a lane of their own: `make
test-agents` builds their image and runs this.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import product
from tests.e2e.agents import script
from tests.e2e.checks import check_journal
from tests.e2e.cluster import eventually, pod_uid, processes_of
from tests.e2e.conftest import profile
from tests.e2e.platform import SETTINGS, Platform
from tests.e2e.test_cancel import ORPHANS, until_event

pytestmark = pytest.mark.e2e

BACKENDS = ["opencode", "gemini"]
ENABLED = "profiles.opencode.enabled=true,profiles.gemini.enabled=true"
EDIT = script(
    {"think": "Two files."},
    {"say": "I will add a file and change another."},
    {"shell": "printf 'hello\\n' > hello.txt && printf 'more\\n' >> README.md && echo edited"},
    {"say": "Both are done."},
)
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
}


@pytest.fixture(scope="module", autouse=True)
def offered(platform: Platform) -> Iterator[None]:
    """Offer the two beside the default profiles."""
    product.install(os.environ["AGENTRUN_CLUSTER"], *SETTINGS, "--set", ENABLED)
    yield
    product.install(os.environ["AGENTRUN_CLUSTER"], *SETTINGS)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_agent_edits_a_cloned_repository(
    platform: Platform, tmp_path: Path, backend: str
) -> None:
    spawned = await platform.door.call(
        "spawn_run",
        backend=backend,
        role="worker",
        prompt=EDIT,
        workspace={"git": {"url": platform.repository, "ref": "main"}},
    )
    run, events = await platform.door.finish(spawned["run_id"])
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    [finished] = [event["data"] for event in events if event["type"] == "command_finished"]
    assert (finished["status"], finished["is_error"]) == ("completed", False)
    assert "edited" in finished["output"]
    thoughts = [event["data"]["text"] for event in events if event["type"] == "reasoning"]
    assert any("Two files." in text for text in thoughts)
    said = [event["data"]["text"] for event in events if event["type"] == "agent_message"]
    assert said == ["I will add a file and change another.", "Both are done."]
    assert run["result"]["summary"] == "Both are done."
    assert run["usage"]["input_tokens"] > 0
    assert run["usage"]["output_tokens"] > 0
    # Nobody has told these agents what the model costs.
    assert not run["usage"].get("cost_usd")
    diff = await asyncio.to_thread(
        _diff, platform.repository_from_here, run["branch"], tmp_path / "clone"
    )
    assert "+hello" in diff
    assert "+more" in diff


def _diff(url: str, branch: str, folder: Path) -> str:
    clone = ["git", "clone", "--quiet", "--branch", branch, url, str(folder)]
    subprocess.run(clone, check=True, capture_output=True)
    show = ["git", "-C", str(folder), "log", "-p", "origin/main..HEAD"]
    return subprocess.run(show, check=True, capture_output=True, text=True).stdout


async def test_any_acp_program_of_any_image_is_an_agent(platform: Platform) -> None:
    """With a provider too: the profile says all that the known backends have for defaults."""
    config = {
        "model": "own/some-model",
        "enabled_providers": ["own"],
        "permission": {"*": "allow"},
        "provider": {
            "own": {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": "http://127.0.0.1:8790", "apiKey": "none"},
                "models": {"some-model": {}},
            }
        },
    }
    provider = {
        "baseURL": "http://model.agentrun-dev.svc:8080/v1",
        "keySecret": {"name": "openai-key", "key": "key"},
    }
    made = profile(
        "own-agent",
        image="localhost/agentrun/agent-more:dev",
        command=["opencode", "acp"],
        env=[{"name": "OPENCODE_CONFIG_CONTENT", "value": json.dumps(config)}],
        provider=provider,
    )
    await platform.apply(made)
    spawned = await platform.door.call(
        "spawn_run",
        backend="acp",
        profile="own-agent",
        role="worker",
        prompt=script({"shell": "echo worked"}, {"say": "Done by another."}),
    )
    run, events = await platform.door.finish(spawned["run_id"])
    assert run["status"] == "completed", run
    assert run["result"]["summary"] == "Done by another."
    check_journal(events, "completed")


@pytest.mark.parametrize("backend", BACKENDS)
async def test_nothing_of_a_cancelled_run_is_left(platform: Platform, backend: str) -> None:
    spawned = await platform.door.call(
        "spawn_run", backend=backend, role="worker", prompt=script({"shell": ORPHANS})
    )
    run_id = spawned["run_id"]
    uid = await pod_uid(run_id)
    await until_event(platform, run_id, "command_started")
    await eventually(
        lambda: asyncio.to_thread(processes_of, uid),
        lambda found: any("SIG_IGN" in line for line in found),
    )
    answer = await platform.door.call("cancel_run", run_id=run_id, wait_ms=30_000)
    left = processes_of(uid)
    assert answer["status"] == "cancelled", answer
    assert left == []
    _, events = await platform.door.finish(run_id)
    check_journal(events, "cancelled")


@pytest.mark.parametrize("backend", BACKENDS)
async def test_structured_output_satisfies_its_schema(platform: Platform, backend: str) -> None:
    spawned = await platform.door.call(
        "spawn_run",
        backend=backend,
        role="planner",
        prompt=script({"structured": {"answer": "forty-two"}}),
        output_schema=SCHEMA,
    )
    run, events = await platform.door.finish(spawned["run_id"])
    assert run["status"] == "completed", run
    assert run["result"]["structured"] == {"answer": "forty-two"}
    completed = next(event for event in events if event["type"] == "run_completed")
    assert completed["data"]["structured_output"] == {"answer": "forty-two"}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_answer_that_breaks_the_schema_is_not_passed_on(
    platform: Platform, backend: str
) -> None:
    spawned = await platform.door.call(
        "spawn_run",
        backend=backend,
        role="planner",
        prompt=script({"structured": {"answer": 42}}),
        output_schema=SCHEMA,
    )
    run, events = await platform.door.finish(spawned["run_id"])
    assert (run["status"], run["reason"]) == ("failed", "OutputInvalid"), run
    assert "structured_output" not in {key for event in events for key in event["data"]}


@pytest.mark.parametrize(
    ("code", "reason"), [(401, "AuthRequired"), (429, "ProviderError"), (500, "ProviderError")]
)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_error_of_the_provider_ends_the_run_with_its_message(
    platform: Platform, backend: str, code: int, reason: str
) -> None:
    spawned = await platform.door.call(
        "spawn_run",
        backend=backend,
        role="worker",
        prompt=script({"error": code, "message": f"no luck: {code}"}),
    )
    run, events = await platform.door.finish(spawned["run_id"])
    assert (run["status"], run["reason"]) == ("failed", reason), run
    assert f"no luck: {code}" in run["message"]
    check_journal(events, "failed")
