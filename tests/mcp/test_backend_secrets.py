"""Credentials for a remote agent: in a Secret of the run, and nowhere else."""

import base64
import json

from agentrun.api.v1alpha1 import AgentProfileSpec, AgentRun, AgentSession
from mcp_server.backend_secrets import build_secret, credentials_of
from mcp_server.manifests import build_run, build_session, check_arguments, request_hash
from mcp_server.schemas import SpawnArguments


def arguments(token: str) -> SpawnArguments:
    config = {"agent_url": "https://a", "auth_token": token, "headers": {"x-key": "h1dden"}}
    return SpawnArguments(backend="remote_a2a", role="worker", prompt="x", backend_config=config)


def test_run_names_the_secret_and_holds_no_credentials() -> None:
    given = arguments("s3cr3t")
    check_arguments(given)
    profile = AgentProfileSpec(backend="remote_a2a", image="none")
    body = build_run(given, "run-a", "run-a", "ann", profile)
    assert "s3cr3t" not in json.dumps(body)
    assert "h1dden" not in json.dumps(body)
    assert body["spec"]["backendConfig"] == {
        "agent_url": "https://a", "credentials_secret": "run-a-agentrun-backend",
    }  # fmt: skip
    body["metadata"]["uid"] = "run-uid"
    session = build_session(given, "run-a")
    session["metadata"]["uid"] = "session-uid"
    run, of = AgentRun.model_validate(body), AgentSession.model_validate(session)
    secret = build_secret(credentials_of(given), "https://a", run, of)
    read = {key: base64.b64decode(text).decode() for key, text in secret["data"].items()}
    assert read["auth_token"] == "s3cr3t"
    assert json.loads(read["headers"]) == {"x-key": "h1dden"}
    owners = [owner["uid"] for owner in secret["metadata"]["ownerReferences"]]
    assert owners == ["run-uid", "session-uid"]


def test_digest_of_the_request_tells_nothing_of_credentials() -> None:
    assert request_hash(arguments("one")) == request_hash(arguments("two"))
