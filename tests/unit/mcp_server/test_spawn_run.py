import asyncio
from functools import partial
from typing import Any

import pytest

from agentrun.api.pod_layout import LABEL_BACKEND, LABEL_SESSION, REQUESTED_BY
from agentrun.api.v1alpha1 import AgentRunSpec
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import PROFILES, RUNS, SESSIONS
from mcp_server.access.auth import Caller
from mcp_server.runs import manifests
from tests import asked
from tests.unit.mcp_server.cluster import profile, session
from tests.unit.mcp_server.conftest import Bench

ASK = {"backend": "codex", "role": "worker"}
REMOTE = {"agent_url": "https://agent.example"}


async def test_a_run_is_created_with_its_session_and_answered_as_queued(bench: Bench) -> None:
    answer = await bench.spawn(
        nickname="Étude Bot",
        workspace={"git": {"url": "https://git.test/a.git", "branch": "fix"}},
        cwd="docs",
        timeouts={"active_deadline_seconds": 60},
        metadata={"ticket": 7},
    )
    made = bench.cluster.objects["agentruns", "team-a", answer["run_id"]]
    kept = bench.cluster.objects["agentsessions", "team-a", "tude-bot"]
    assert answer == {
        "run_id": made["metadata"]["name"],
        "backend": "codex",
        "role": "worker",
        "session_id": kept["metadata"]["uid"],
        "agent_name": "tude-bot",
        "status": "queued",
    }
    assert kept["spec"] == {"backend": "codex", "displayName": "Étude Bot"}
    assert made["metadata"]["labels"] == {LABEL_SESSION: "tude-bot", LABEL_BACKEND: "codex"}
    assert made["metadata"]["annotations"][REQUESTED_BY] == bench.caller.username
    assert made["spec"]["workspace"] == {
        "git": {"url": "https://git.test/a.git", "branch": "fix", "depth": 1},
        "cwd": "/workspace/docs",
    }
    assert made["spec"]["timeouts"] == {"activeDeadlineSeconds": 60}
    assert made["spec"]["metadata"] == {"ticket": 7}


async def test_a_new_run_can_be_read_immediately(bench: Bench) -> None:
    answer = await bench.spawn()
    shown = await bench.call("get_run", run_id=answer["run_id"])
    assert (shown["status"], shown["prompt"]) == ("queued", "Work.")
    assert shown["agent_name"] == answer["run_id"]


async def test_no_argument_sets_secrets_or_pod_fields(bench: Bench) -> None:
    secret = {"name": "s", "key": "k"}
    wishes: dict[str, Any] = {
        "env": [{"name": "A", "secret": secret}],
        "image": "mine",
        "caches": [{"claim": "c", "mountPath": "/c"}],
        "workspace": {"git": {"url": "https://h/x", "credentialsSecret": "s"}, "secret": "s"},
    }
    given = {"backend": "codex", "role": "worker", "prompt": "Work."}
    told = await bench.refused("spawn_run", **given, **wishes)
    for name in ("env", "image", "caches", "workspace.git.credentialsSecret", "workspace.secret"):
        assert f"Unknown argument {name}." in told
    assert not [key for key in bench.cluster.objects if key[0] == "agentruns"]


async def test_a_folder_without_a_workspace_is_one_in_the_profiles_workspace(bench: Bench) -> None:
    git = {"url": "https://git.test/a.git"}
    await bench.add(PROFILES, "team-a", profile("with-git", workspace={"git": git}))
    answer = await bench.spawn(profile="with-git", cwd="/workspace/sub")
    made = bench.cluster.objects["agentruns", "team-a", answer["run_id"]]
    assert made["spec"]["workspace"]["git"]["url"] == git["url"]
    assert made["spec"]["workspace"]["cwd"] == "/workspace/sub"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param({}, "Either prompt or input_message is required", id="nothing-to-do"),
        pytest.param(
            {"prompt": "  "}, "Either prompt or input_message is required", id="blank-prompt"
        ),
        pytest.param(
            {"input_message": {"parts": [{"type": "text", "text": " \n"}]}},
            "input_message is empty",
            id="blank-message",
        ),
        pytest.param(
            {"prompt": "x", "model": "m" * 300},
            "Invalid arguments for tool spawn_run: model: String should have at most 256 char",
            id="long-model",
        ),
        pytest.param(
            {"prompt": "x", "session_mode": "resume"},
            "session_id is required when session_mode is resume",
            id="resume-what",
        ),
        pytest.param(
            {"prompt": "x", "session_mode": "resume", "session_id": "nobody"},
            "Unknown session_id: nobody",
            id="unknown-session",
        ),
        pytest.param(
            {"prompt": "x", "backend": "remote_a2a"},
            "backend_config.agent_url is required when backend is remote_a2a",
            id="no-agent-url",
        ),
        pytest.param(
            {"prompt": "x", "backend": "remote_a2a", "backend_config": {"agent_url": 5}},
            "backend_config.agent_url must be an http or https URL",
            id="agent-url-that-is-none",
        ),
        pytest.param(
            {"prompt": "x", "backend": "remote_a2a", "backend_config": REMOTE | {"blocking": "x"}},
            "backend_config.blocking must be true or false",
            id="remote-setting-that-is-wrong",
        ),
        pytest.param(
            {"prompt": "x", "backend_config": {"auth_token": "s3cret"}},
            "backend_config.auth_token is not accepted",
            id="credentials-in-the-open",
        ),
        pytest.param(
            {"prompt": "x", "workspace": {"git": {"url": "file:///etc"}}},
            "workspace.git.url 'file:///etc': a repository's url must begin with https://",
            id="repository-that-is-a-file",
        ),
        pytest.param(
            {"prompt": "x", "cwd": "../etc"},
            "cwd must be inside the run's workspace: ../etc",
            id="cwd-above",
        ),
        pytest.param(
            {"prompt": "x", "cwd": "/etc"},
            "cwd must be inside the run's workspace: /etc",
            id="cwd-elsewhere",
        ),
        pytest.param(
            {"prompt": "x", "nickname": "!!"},
            "nickname needs at least one letter or digit: !!",
            id="no-name",
        ),
        pytest.param(
            {"prompt": "x", "output_schema": {"type": "thing"}},
            "output_schema is not a valid JSON Schema",
            id="bad-schema",
        ),
        pytest.param(
            {"input_message": {"parts": [{"type": "text"}]}},
            "input_message.parts[0] is of type text but has no text",
            id="empty-part",
        ),
        pytest.param(
            {"prompt": "x", "profile": "gold"},
            "Unknown profile: gold. Profiles in this namespace: codex (codex), small (codex).",
            id="unknown-profile",
        ),
        pytest.param(
            {"prompt": "x", "backend": "claude_code"},
            "Unknown profile: claude-code. Profiles in this namespace: codex (codex), small",
            id="backend-not-offered",
        ),
        pytest.param(
            {"prompt": "x", "backend": "claude_code", "profile": "codex"},
            "Profile codex is for backend codex, not claude_code.",
            id="profile-of-another-backend",
        ),
        pytest.param(
            {"prompt": "x", "profile": "small", "model": "huge"},
            "Profile small does not allow model huge. Allowed: mini.",
            id="model-not-allowed",
        ),
        pytest.param(
            {"prompt": "x", "profile": "small", "workspace": {"volume": "secrets"}},
            "Profile small does not allow volume secrets. Allowed: none.",
            id="volume-not-allowed",
        ),
        pytest.param(
            {"prompt": "x", "metadata": {"a": "é" * 300_000}},
            "The arguments have 6000",
            id="too-large",
        ),
        pytest.param(
            {"prompt": "x", "namespace": "kube-system"},
            "Namespace kube-system is not served here. Served: team-b, team-a.",
            id="namespace-not-served",
        ),
    ],
)
async def test_invalid_arguments_are_refused_with_the_reason(
    bench: Bench, arguments: dict[str, Any], text: str
) -> None:
    await bench.add(PROFILES, "team-a", profile("small", models={"allowed": ["mini"]}))
    assert (await bench.refused("spawn_run", **(ASK | arguments))).startswith(text)
    assert not any(kind in ("agentruns", "agentsessions") for kind, *_ in bench.cluster.objects)


@pytest.mark.parametrize("given", asked.ACCEPTED.values(), ids=asked.ACCEPTED)
async def test_a_task_that_says_something_is_accepted(bench: Bench, given: dict[str, Any]) -> None:
    assert (await bench.call("spawn_run", **ASK, **given))["status"] == "queued"


@pytest.mark.parametrize("given", asked.REFUSED.values(), ids=asked.REFUSED)
async def test_what_is_refused_by_kubectl_is_refused_here(
    bench: Bench, given: dict[str, Any]
) -> None:
    assert await bench.refused("spawn_run", **ASK, **given)
    assert not any(kind == "agentruns" for kind, *_ in bench.cluster.objects)


async def test_a_profile_with_a_dot_in_its_name_can_be_used(bench: Bench) -> None:
    await bench.add(PROFILES, "team-a", profile("gpt-5.1", volumes=["data.team-a"]))
    answer = await bench.spawn(profile="gpt-5.1", workspace={"volume": "data.team-a"})
    made = bench.cluster.objects["agentruns", "team-a", answer["run_id"]]
    assert made["spec"]["profile"] == "gpt-5.1"
    assert made["spec"]["workspace"] == {"volume": "data.team-a"}


async def test_a_taken_nickname_is_refused(bench: Bench) -> None:
    await bench.spawn(nickname="Bob")
    text = await bench.refused("spawn_run", **ASK, prompt="x", nickname="bob")
    assert text.startswith("Agent name is already in use: bob.")


async def test_a_run_that_the_api_server_refuses_takes_no_name(bench: Bench) -> None:
    invalid = 'AgentRun "x" is invalid: spec.prompt: Too long'
    bench.cluster.faults["create", "agentruns"] = [ApiError(422, "Invalid", invalid)]
    text = await bench.refused("spawn_run", **ASK, prompt="x", nickname="bob")
    assert text == f"The Kubernetes API server rejected the request: {invalid}"
    assert (await bench.spawn(nickname="bob"))["agent_name"] == "bob"


async def test_an_invalid_run_takes_no_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the resource's bounds were narrower than the tool's.
    narrow = partial(AgentRunSpec, model="m" * 300)
    monkeypatch.setattr(manifests, "AgentRunSpec", lambda model, **more: narrow(**more))
    text = await bench.refused("spawn_run", **ASK, prompt="x", nickname="bob")
    assert text.startswith(
        "The arguments are not valid for a run: model: String should have at most"
    )
    assert not [key for key in bench.cluster.objects if key[0] == "agentsessions"]


async def test_an_unavailable_api_server_is_distinguished_from_a_refusal(bench: Bench) -> None:
    bench.cluster.faults["get", "agentprofiles"] = [ApiUnavailableError("connection refused")]
    text = await bench.refused("spawn_run", **ASK, prompt="x")
    assert text.startswith("The Kubernetes API server is unavailable: connection refused")


@pytest.mark.parametrize("plural", ["agentsessions", "agentruns"])
async def test_a_quota_that_always_changes_is_no_name_in_use(bench: Bench, plural: str) -> None:
    conflict = ApiError(409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "q"')
    bench.cluster.faults["create", plural] = [conflict]
    text = await bench.refused("spawn_run", **ASK, prompt="x")
    assert text.startswith("Another request changed the same object: Operation cannot be")
    assert "Try again in a few seconds" in text
    assert not [key for key in bench.cluster.objects if key[0] in ("agentsessions", "agentruns")]


async def test_a_creation_whose_answer_was_lost_is_found_again(bench: Bench) -> None:
    bench.cluster.lost_answers = [("create", "agentruns")]
    answer = await bench.spawn()
    assert ("agentruns", "team-a", answer["run_id"]) in bench.cluster.objects
    assert ("agentsessions", "team-a", answer["run_id"]) in bench.cluster.objects


async def test_an_unavailable_store_is_reported_and_used_again_later(bench: Bench) -> None:
    bench.store.failure = OSError("disk full")
    text = await bench.refused("spawn_run", **ASK, prompt="x", idempotency_key="k")
    assert text.startswith("The event store is unavailable: The database is away: disk full")
    bench.store.failure = None
    assert (await bench.spawn(idempotency_key="k"))["status"] == "queued"


async def test_the_same_key_gives_the_same_run(bench: Bench) -> None:
    first = await bench.spawn(idempotency_key="k", nickname="bob")
    bench.cluster.set_status("team-a", first["run_id"], phase="Completed")
    await bench.run_sync.observe(bench.cluster.objects["agentruns", "team-a", first["run_id"]])
    again = await bench.spawn(idempotency_key="k", nickname="bob")
    assert again == first | {"status": "completed"}
    assert (await bench.spawn(idempotency_key="other"))["run_id"] != first["run_id"]


async def test_the_same_key_gives_the_same_run_after_its_deletion(bench: Bench) -> None:
    first = await bench.spawn(idempotency_key="k")
    name = first["run_id"]
    ended = bench.cluster.set_status("team-a", name, phase="Completed")
    await bench.run_sync.observe(ended)
    bench.cluster.remove(RUNS, "team-a", name)
    await bench.run_sync.observe(ended, deleted=True)
    assert (await bench.spawn(idempotency_key="k"))["run_id"] == name
    assert ("agentruns", "team-a", name) not in bench.cluster.objects


async def test_the_same_key_with_other_arguments_is_refused(bench: Bench) -> None:
    first = await bench.spawn(idempotency_key="k")
    text = await bench.refused("spawn_run", **ASK, prompt="Other.", idempotency_key="k")
    assert text.startswith("idempotency_key was used before with other arguments, for run")
    assert first["run_id"] in text


async def test_the_same_key_of_another_caller_is_another_run(bench: Bench) -> None:
    first = await bench.spawn(idempotency_key="k")
    bench.caller = Caller("system:serviceaccount:team-a:bob")
    assert (await bench.spawn(idempotency_key="k"))["run_id"] != first["run_id"]


async def test_concurrent_identical_requests_create_one_run(bench: Bench) -> None:
    twins = [bench.spawn(idempotency_key="k", nickname="bob") for _ in range(5)]
    answers = await asyncio.gather(*twins)
    assert len({answer["run_id"] for answer in answers}) == 1
    assert sum(kind == "agentruns" for kind, *_ in bench.cluster.objects) == 1


async def test_a_request_that_created_only_its_session_can_be_repeated(
    bench: Bench,
) -> None:
    away = ApiUnavailableError("gone")
    bench.cluster.faults = {("create", "agentruns"): [away], ("delete", "agentsessions"): [away]}
    ask = ASK | {"prompt": "Work.", "nickname": "bob", "idempotency_key": "k"}
    assert "unavailable" in await bench.refused("spawn_run", **ask)
    assert (await bench.call("spawn_run", **ask))["agent_name"] == "bob"


@pytest.mark.parametrize("by", ["name", "uid"])
async def test_a_session_is_resumed_by_its_name_or_its_uid(bench: Bench, by: str) -> None:
    made = await bench.add(SESSIONS, "team-a", session("bob", snapshot="s-1"))
    answer = await bench.spawn(session_mode="resume", session_id=made["metadata"][by])
    stored = bench.cluster.objects["agentruns", "team-a", answer["run_id"]]
    assert stored["spec"]["session"] == {"mode": "resume", "name": "bob"}
    assert answer["session_id"] == made["metadata"]["uid"]


@pytest.mark.parametrize(
    ("made", "arguments", "text"),
    [
        pytest.param(
            session("bob", backend="claude_code", snapshot="s"),
            {},
            "Session bob is bound to backend claude_code, not codex",
            id="another-backend",
        ),
        pytest.param(
            session("bob"), {}, "Session bob has no backend session id yet.", id="no-snapshot"
        ),
        pytest.param(
            session("bob", snapshot="s"),
            {"nickname": "Carol"},
            "Session bob is already named bob, not Carol",
            id="another-name",
        ),
    ],
)
async def test_a_session_that_cannot_take_the_run_is_not_resumed(
    bench: Bench, made: dict[str, Any], arguments: dict[str, Any], text: str
) -> None:
    await bench.add(SESSIONS, "team-a", made)
    ask = ASK | {"prompt": "x", "session_mode": "resume", "session_id": "bob"} | arguments
    assert (await bench.refused("spawn_run", **ask)).startswith(text)


async def test_a_busy_session_accepts_another_run(bench: Bench) -> None:
    active = {"name": "run-0", "uid": "u"}
    await bench.add(SESSIONS, "team-a", session("bob", activeRun=active))
    answer = await bench.spawn(session_mode="resume", session_id="bob", nickname="Bob")
    assert answer["agent_name"] == "bob"


async def test_a_caller_of_another_namespace_gets_the_first_run_namespace(bench: Bench) -> None:
    bench.caller = Caller("alice@example.test")
    await bench.add(PROFILES, "team-b", profile())
    answer = await bench.spawn()
    assert ("agentruns", "team-b", answer["run_id"]) in bench.cluster.objects


CLOSED = {
    "credentialsSecret": "git",
    "repositories": ["https://git.test/team"],
    "branches": ["agentrun/*", "fix-*"],
}


@pytest.mark.parametrize(
    ("git", "told"),
    [
        ({"url": "https://git.test/other/a.git"}, "does not allow repository"),
        ({"url": "https://git.test/team/../other/a.git"}, "does not allow repository"),
        ({"url": "http://git.test/team/a.git"}, "does not allow repository"),
        ({"url": "https://git.test/team/a.git", "branch": "main"}, "pushing to branch main"),
    ],
)
async def test_repository_and_branch_are_those_that_the_profile_allows(
    bench: Bench, git: dict[str, Any], told: str
) -> None:
    await bench.add(PROFILES, "team-a", profile("closed", git=CLOSED))
    given = {"backend": "codex", "role": "worker", "prompt": "x", "profile": "closed"}
    assert told in await bench.refused("spawn_run", **given, workspace={"git": git})
    allowed = {"url": "https://git.test/team/a.git", "branch": "fix-1"}
    await bench.spawn(profile="closed", workspace={"git": allowed})
