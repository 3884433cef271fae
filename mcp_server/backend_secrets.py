"""
Credentials for a remote agent: removed from spawn_run's arguments and stored in a Secret.

The Secret is created with the run and its session as owners, so the MCP server only needs the
permission to create Secrets (docs/decisions/0010). The functions are pure.
"""

import base64
import json
from typing import Any

from agentrun.api.names import backend_secret_name, giver_of
from agentrun.api.pod_layout import LABEL_RUN
from agentrun.api.v1alpha1 import API_VERSION, AgentRun, AgentSession
from mcp_server.schemas import SpawnArguments

CREDENTIALS = ("auth_token", "headers")
REFERENCE = "credentials_secret"
"""The key in `spec.backendConfig` that names the Secret; callers must not set it."""
WHO = ("agent_url", "agent_card_path")
"""The keys that identify the agent that the credentials are for."""


def credentials_of(arguments: SpawnArguments) -> dict[str, Any]:
    """Return the credentials in the arguments."""
    given = arguments.backend_config or {}
    return {key: given[key] for key in CREDENTIALS if given.get(key)}


def without_credentials(arguments: SpawnArguments) -> SpawnArguments:
    """Return the arguments without credentials, as stored in the run."""
    if not arguments.backend_config:
        return arguments
    kept = {k: v for k, v in arguments.backend_config.items() if k not in CREDENTIALS}
    return arguments.model_copy(update={"backend_config": kept})


def with_reference(config: dict[str, Any] | None, run_id: str) -> dict[str, Any]:
    """Return a run's backend config with a reference to the Secret with its credentials."""
    return {**(config or {}), REFERENCE: backend_secret_name(run_id)}


def inherit(spec: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Refer to the Secret of an earlier run in a run's spec, if both are for the same agent."""
    config = spec.get("backendConfig") or {}
    before = before or {}
    is_same = all(config.get(key) == before.get(key) for key in WHO)
    if is_same and REFERENCE in before and REFERENCE not in config:
        spec["backendConfig"] = {**config, REFERENCE: before[REFERENCE]}


def inherited_from(spec: dict[str, Any], run_id: str) -> str | None:
    """Return the name of the run whose credentials are inherited; None if there is none."""
    giver = giver_of((spec.get("backendConfig") or {}).get(REFERENCE))
    return giver if giver != run_id else None


def disinherit(spec: dict[str, Any]) -> None:
    """Remove the reference to an inherited Secret from a run's spec."""
    spec["backendConfig"] = {k: v for k, v in spec["backendConfig"].items() if k != REFERENCE}


def build_secret(
    credentials: dict[str, Any], config: dict[str, Any], run: AgentRun, session: AgentSession
) -> dict[str, Any]:
    """Build the Secret. It names the agent it is for, so that it is not sent to another one."""
    values = {key: str(config.get(key) or "") for key in WHO}
    if "auth_token" in credentials:
        values["auth_token"] = credentials["auth_token"]
    if "headers" in credentials:
        values["headers"] = json.dumps(credentials["headers"])
    owners = [("AgentRun", run.metadata), ("AgentSession", session.metadata)]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": backend_secret_name(run.metadata.name),
            "labels": {LABEL_RUN: run.metadata.name},
            "ownerReferences": [
                {"apiVersion": API_VERSION, "kind": kind, "name": of.name, "uid": of.uid}
                for kind, of in owners
            ],
        },
        "immutable": True,
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in values.items()},
    }
