"""Credentials for a remote agent: in a Secret of the run, and nowhere else."""

import base64
import json
from typing import Any

import pytest

from agentrun.api.v1alpha1 import AgentProfileSpec, AgentRun, AgentSession
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import PROFILES, SECRETS
from mcp_server.runs.credentials import add_reference, build_secret, separate_credentials
from mcp_server.runs.manifests import build_run, build_session, check_arguments, request_hash
from mcp_server.schemas.arguments import InvalidArgumentsError
from mcp_server.schemas.runs import SpawnArguments
from tests.unit.mcp_server.conftest import Bench


def arguments(token: str) -> SpawnArguments:
    config = {"agent_url": "https://a", "auth_token": token, "headers": {"x-key": "h1dden"}}
    return SpawnArguments(backend="remote_a2a", role="worker", prompt="x", backend_config=config)


def test_run_names_the_secret_and_holds_no_credentials() -> None:
    given = arguments("s3cr3t")
    check_arguments(given)
    given, credentials = separate_credentials(given)
    assert credentials is not None
    assert "s3cr3t" not in repr(credentials)
    profile = AgentProfileSpec(backend="remote_a2a", image="none")
    body = build_run(given, "run-a", "run-a", "ann", profile)
    add_reference(body["spec"], "run-a")
    assert "s3cr3t" not in json.dumps(body)
    assert "h1dden" not in json.dumps(body)
    assert body["spec"]["backendConfig"] == {
        "agent_url": "https://a", "credentials_secret": "run-a-agentrun-backend",
    }  # fmt: skip
    body["metadata"]["uid"] = "run-uid"
    session = build_session(given, "run-a")
    session["metadata"]["uid"] = "session-uid"
    run, of = AgentRun.model_validate(body), AgentSession.model_validate(session)
    secret = build_secret(credentials, run, of)
    read = {key: base64.b64decode(text).decode() for key, text in secret["data"].items()}
    assert read["auth_token"] == "s3cr3t"
    assert json.loads(read["headers"]) == {"x-key": "h1dden"}
    owners = [owner["uid"] for owner in secret["metadata"]["ownerReferences"]]
    assert owners == ["run-uid", "session-uid"]


def test_digest_of_the_request_does_not_reveal_credentials() -> None:
    one, two = (separate_credentials(arguments(token))[0] for token in ("one", "two"))
    assert request_hash(one) == request_hash(two)


CONFIG = {"agent_url": "https://a", "auth_token": "s3cr3t"}
PROFILE = {"metadata": {"name": "remote-a2a"}, "spec": {"backend": "remote_a2a", "image": "none"}}


def secret_of(bench: Bench, run_id: str) -> Any:
    return bench.cluster.objects.get(("secrets", "team-a", f"{run_id}-agentrun-backend"))


async def spawn(bench: Bench, config: dict[str, Any] | None = None, **more: Any) -> str:
    if ("agentprofiles", "team-a", "remote-a2a") not in bench.cluster.objects:
        await bench.add(PROFILES, "team-a", PROFILE)
    spawned = await bench.spawn(backend="remote_a2a", backend_config=config or CONFIG, **more)
    return str(spawned["run_id"])


async def test_a_retry_creates_the_secret_that_the_first_try_could_not(
    bench: Bench,
) -> None:
    run_id = await spawn(bench, idempotency_key="k")
    bench.cluster.remove(SECRETS, "team-a", f"{run_id}-agentrun-backend")
    assert await spawn(bench, idempotency_key="k") == run_id
    assert secret_of(bench, run_id) is not None
    assert await spawn(bench, idempotency_key="k") == run_id, "and harms nothing where it is there"


async def test_a_run_whose_secret_cannot_be_created_is_cancelled(bench: Bench) -> None:
    run_id = await spawn(bench, idempotency_key="k")
    bench.cluster.remove(SECRETS, "team-a", f"{run_id}-agentrun-backend")
    bench.cluster.faults["create", "secrets"] = [ApiError(403, "Forbidden", "no more Secrets")]
    with pytest.raises(AssertionError, match="no more Secrets"):
        await spawn(bench, idempotency_key="k")
    spec = bench.cluster.objects["agentruns", "team-a", run_id]["spec"]
    assert spec["desiredState"] == "Cancelled"
    assert "no more Secrets" in spec["cancellation"]["reason"]


@pytest.mark.parametrize(
    ("config", "inherits"),
    [
        pytest.param({"agent_url": "https://a"}, True, id="same-agent"),
        pytest.param({"agent_url": "https://b"}, False, id="another-agent"),
        pytest.param({"agent_url": "https://a", "auth_token": "new"}, False, id="its-own"),
    ],
)
async def test_a_resumed_session_keeps_its_credentials(
    bench: Bench, config: dict[str, Any], inherits: bool
) -> None:
    first = await spawn(bench, nickname="ada")
    bench.cluster.objects["agentsessions", "team-a", "ada"]["status"] = {
        "lastRun": first, "snapshot": "uid/snapshots/1",
    }  # fmt: skip
    second = await spawn(bench, config, session_mode="resume", session_id="ada")
    named = bench.cluster.objects["agentruns", "team-a", second]["spec"]["backendConfig"].get(
        "credentials_secret"
    )
    assert (named == f"{first}-agentrun-backend") is inherits
    assert (secret_of(bench, second) is not None) is ("auth_token" in config)


NAMED = "spawned-by-alice-agentrun-backend"


@pytest.mark.parametrize("backend", ["remote_a2a", "codex"])
def test_no_caller_can_name_a_secret(backend: Any) -> None:
    config = {"agent_url": "https://a", "credentials_secret": NAMED}
    given = SpawnArguments(backend=backend, role="worker", prompt="x", backend_config=config)
    with pytest.raises(InvalidArgumentsError, match="credentials_secret is not accepted"):
        check_arguments(given)


@pytest.mark.parametrize("giver", ["somebody-else", None])
@pytest.mark.parametrize("way", ["spawn_run", "continue_run", "from_start"])
async def test_credentials_are_reused_only_by_the_caller_who_gave_them(
    bench: Bench, giver: str | None, way: str
) -> None:
    first = await spawn(bench, nickname="ada")
    if giver:
        annotations = bench.cluster.objects["agentruns", "team-a", first]["metadata"]["annotations"]
        annotations["agentrun.dev/requested-by"] = giver
    await bench.run_sync.observe(bench.cluster.set_status("team-a", first, phase="Completed"))
    bench.cluster.objects["agentsessions", "team-a", "ada"]["status"] = {
        "lastRun": first, "snapshot": "uid/snapshots/1",
    }  # fmt: skip
    if way == "spawn_run":
        config = {"agent_url": "https://a"}
        second = await spawn(bench, config, session_mode="resume", session_id="ada")
    else:
        message = {"parts": [{"type": "text", "text": "more"}]}
        more = {"from_start": True} if way == "from_start" else {"input_message": message}
        second = (await bench.call("continue_run", run_id=first, **more))["run_id"]
    named = bench.cluster.objects["agentruns", "team-a", second]["spec"]["backendConfig"]
    assert ("credentials_secret" in named) is (giver is None)
    assert named["agent_url"] == "https://a"
