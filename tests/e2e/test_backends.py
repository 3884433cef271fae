"""
The other local agents, as real programs in pods: opencode, the Gemini CLI, and Qwen Code as one
that AgentRun knows nothing of.

They are slower and larger than Codex and Claude Code, and their images are built for this alone.
"""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dev import product
from tests.e2e.agents import script
from tests.e2e.checks import check_journal
from tests.e2e.cluster import (
    RUNS,
    Json,
    apply,
    get,
    kubectl,
    pod_uid,
    processes_of,
    until_processes,
)
from tests.e2e.installation import REPOSITORY, Installation, profile
from tests.e2e.orphans import ORPHANS, until_event
from tests.events import data_of, said

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

BACKENDS = ["opencode", "gemini"]
WORKSPACE = {"git": {"url": REPOSITORY, "ref": "main"}}
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


async def changed_profile(backend: str, name: str, **spec: Any) -> str:
    """
    Make a profile like the default one of a backend, but for ``spec``.

    Whoever makes it again makes the same.
    """
    like = await get("agentprofile", backend)
    assert like is not None
    metadata = {"name": f"{backend}-{name}", "namespace": RUNS}
    await apply({**like, "metadata": metadata, "spec": {**like["spec"], **spec}})
    return metadata["name"]


def user(text: str) -> Json:
    return {"role": "user", "parts": [{"type": "text", "text": text}]}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_agent_edits_a_cloned_repository(
    platform: Installation, git_url: str, tmp_path: Path, backend: str
) -> None:
    run_id = await platform.spawn(backend, EDIT, workspace=WORKSPACE)
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    [finished] = data_of(events, "command_finished")
    assert (finished["status"], finished["is_error"]) == ("completed", False)
    assert "edited" in finished["output"]
    assert any("Two files." in data["text"] for data in data_of(events, "reasoning"))
    assert said(events) == ["I will add a file and change another.", "Both are done."]
    assert run["result"]["summary"] == "Both are done."
    assert (run["result"]["files_changed"], run["result"]["insertions"]) == (2, 2)
    assert run["usage"]["input_tokens"] > 0
    assert run["usage"]["output_tokens"] > 0
    # Nobody has told these agents what the model costs.
    assert not run["usage"].get("cost_usd")
    [added] = [event for event in events if event["type"] == "artifact_added"]
    [path] = added["data"]["artifact_refs"]
    patch = await platform.client.call(
        "get_event_artifact", run_id=run_id, seq=added["seq"], field_path=path
    )
    assert "+hello" in patch["content"]
    diff = await asyncio.to_thread(_diff, f"{git_url}/demo.git", run["branch"], tmp_path / "clone")
    assert "+hello" in diff
    assert "+more" in diff
    row = (await kubectl("get", "runs", run_id, "-n", RUNS, "--no-headers")).split()
    assert row[:4] == [run_id, backend, "Completed", "Completed"]


def _diff(url: str, branch: str, folder: Path) -> str:
    clone = ["git", "clone", "--quiet", "--branch", branch, url, str(folder)]
    subprocess.run(clone, check=True, capture_output=True)
    show = ["git", "-C", str(folder), "log", "-p", "origin/main..HEAD"]
    return subprocess.run(show, check=True, capture_output=True, text=True).stdout


async def test_any_acp_program_in_any_image_can_be_an_agent(platform: Installation) -> None:
    """With a provider too: the profile says all that the known backends have for defaults."""
    own = {"OPENAI_BASE_URL": "http://127.0.0.1:8790", "OPENAI_API_KEY": "none",
           "OPENAI_MODEL": "some-model", "NO_BROWSER": "1"}  # fmt: skip
    made = profile(
        "qwen",
        image="localhost/agentrun/agent-other:dev",
        command=["qwen", "--acp", "--yolo"],
        env=[{"name": name, "value": value} for name, value in own.items()],
        provider={
            "baseURL": "http://model.agentrun-dev.svc:8080/v1",
            "keySecret": {"name": "openai-key", "key": "key"},
        },
        git=product.GIT_ACCESS,
    )
    await apply(made)
    run_id = await platform.spawn("acp", EDIT, profile="qwen", workspace=WORKSPACE)
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert said(events)[-1] == run["result"]["summary"] == "Both are done."
    assert run["result"]["files_changed"] == 2
    [finished] = data_of(events, "command_finished")
    assert (finished["exit_code"], finished["is_error"]) == (0, False)
    recall = script({"recall": "edit(?:ed)"})
    again = await platform.client.call("continue_run", run_id=run_id, input_message=user(recall))
    run, events = await platform.client.finish(again["run_id"])
    assert (run["status"], "".join(said(events))) == ("completed", "edited"), run


@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_cancelled_run_leaves_no_pod_and_no_process(
    platform: Installation, backend: str
) -> None:
    run_id = await platform.spawn(backend, script({"shell": ORPHANS}))
    uid = await pod_uid(run_id)
    await until_event(platform, run_id, "command_started")
    await until_processes(uid, lambda found: any("SIG_IGN" in line for line in found))
    answer = await platform.client.cancel(run_id)
    left = processes_of(uid)
    assert answer["status"] == "cancelled", answer
    assert left == []
    _, events = await platform.client.finish(run_id)
    check_journal(events, "cancelled")


@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
async def test_only_an_answer_that_satisfies_its_schema_is_accepted(
    platform: Installation, backend: str
) -> None:
    prompts = [script({"structured": {"answer": value}}) for value in ("forty-two", 42)]
    good, bad = await asyncio.gather(
        *(platform.spawn(backend, prompt, output_schema=SCHEMA) for prompt in prompts)
    )
    run, events = await platform.client.finish(good)
    assert run["status"] == "completed", run
    assert run["result"]["structured"] == {"answer": "forty-two"}
    [completed] = data_of(events, "run_completed")
    assert completed["structured_output"] == {"answer": "forty-two"}
    run, events = await platform.client.finish(bad)
    assert (run["status"], run["reason"]) == ("failed", "OutputInvalid"), run
    assert "structured_output" not in {key for event in events for key in event["data"]}


async def test_opencode_without_a_model_is_refused_before_a_pod_is_created(
    platform: Installation,
) -> None:
    name = await changed_profile("opencode", "no-model", models={})
    run_id = await platform.spawn("opencode", "Hello.", profile=name)
    run, _ = await platform.client.finish(run_id)
    assert (run["status"], run["reason"], run["pod"]) == ("failed", "ProfileRefused", None), run
    assert f"models.default of AgentProfile {name}" in run["message"]


@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_error_of_the_provider_ends_the_run_with_its_message(
    platform: Installation, backend: str
) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "stringData": {"key": "not-the-right-key"},
              "metadata": {"name": "backends-wrong-key", "namespace": RUNS}}  # fmt: skip
    like = await get("agentprofile", backend)
    assert like is not None
    provider = like["spec"]["provider"] | {
        "keySecret": {"name": "backends-wrong-key", "key": "key"}
    }
    await apply(secret)
    stranger = await changed_profile(backend, "refused", provider=provider)
    # The provider is asked again for some seconds, which is time for all three.
    refused, busy, broken = await asyncio.gather(
        platform.spawn(backend, "Hello.", profile=stranger),
        *(platform.spawn(backend, script(_error(code))) for code in (429, 500)),
    )
    await _fails(platform, refused, "AuthRequired", "backends-wrong-key")
    await _fails(platform, busy, "ProviderError", _message(429))
    await _fails(platform, broken, "ProviderError", _message(500))


async def _fails(platform: Installation, run_id: str, reason: str, message: str) -> None:
    run, events = await platform.client.finish(run_id)
    assert (run["status"], run["reason"]) == ("failed", reason), run
    assert message in run["message"]
    check_journal(events, "failed")


def _error(code: int) -> Json:
    return {"error": code, "message": _message(code)}


def _message(code: int) -> str:
    return f"no luck: {code}"


async def question_of(platform: Installation, run_id: str) -> Json:
    await platform.reaches(run_id, "InputRequired", "Completed", "Failed")
    shown = await platform.shown(run_id, lambda run: run["question"])
    question: Json = shown["question"]
    assert question, shown
    return question


@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_agent_asks_and_does_what_it_is_allowed(
    platform: Installation, backend: str
) -> None:
    asks = await changed_profile(backend, "asks", permissionMode="Ask")
    steps = script(
        # Of its own tools it asks nobody.
        {"tool": "agentrun/list_agents", "arguments": {}},
        {"shell": "printf 'made\\n' > made.txt"},
        {"say": "That is all."},
    )
    run_id = await platform.spawn(backend, steps, profile=asks, workspace=WORKSPACE)
    question = await question_of(platform, run_id)
    assert "made.txt" in question["text"]
    [once] = [one for one in question["options"] if one["name"] in ("Allow", "Allow once")]
    answer = {"role": "user", "parts": [{"type": "data", "data": {"option_id": once["id"]}}]}
    answered = await platform.client.call(
        "continue_run", run_id=run_id, input_message=answer, wait_ms=30_000
    )
    assert (answered["mode"], answered["run_id"]) == ("live", run_id)
    run, events = await platform.client.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    check_journal(events, "completed")
    assert run["result"]["files_changed"] == 1
    [tool] = data_of(events, "tool_finished")
    assert (tool["status"], tool["is_error"]) == ("completed", False)
    assert "list_agents" in tool["tool"]
    assert "agent_name" in tool["output"]
    assert len(data_of(events, "input_required")) == 1


@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_agent_continues_in_other_pods_with_its_conversation(
    platform: Installation, backend: str
) -> None:
    """A wait without a pod, then two runs of the same session: all that was said is known."""
    asks = await changed_profile(backend, "asks", permissionMode="Ask")
    first = await platform.spawn(
        backend, script({"say": "word-1"}, {"shell": "touch x"}),
        profile=asks, timeouts={"idle_timeout_seconds": 5},
    )  # fmt: skip
    await question_of(platform, first)
    await platform.gone("pod", f"{first}-1")
    recall = {"recall": r"word-\d+"}
    answered = await platform.client.call(
        "continue_run", run_id=first, input_message=user(script(recall, {"say": " word-2"}))
    )
    assert (answered["mode"], answered["run_id"]) == ("live", first)
    run, events = await platform.client.finish(first)
    assert (run["status"], run["attempts"]) == ("completed", 2), run
    check_journal(events, "completed")
    # What is recalled and what is said after it may come as one event or as two.
    assert "".join(said(events)) == "word-1" + "word-1 word-2 word-2"
    runs = [run]
    for number, known in ((3, "word-1 word-2 word-3"), (4, "word-1 word-2 word-3 word-4")):
        steps = script(recall, {"say": f" word-{number}"})
        answered = await platform.client.call(
            "continue_run", run_id=runs[-1]["run_id"], input_message=user(steps)
        )
        assert answered["mode"] == "resume"
        run, events = await platform.client.finish(answered["run_id"])
        assert run["status"] == "completed", run
        assert "".join(said(events)) == f"{known} word-{number}"
        runs.append(run)
    ids = [(await platform.status(one["run_id"]))["agent"]["sessionID"] for one in runs]
    assert len(set(ids)) == 1, "the same conversation"
