"""
Credentials for a remote agent: taken out of spawn_run's arguments, kept in a Secret.

The Secret is owned by the run and by its session from the moment it exists, so the MCP server
needs no right but to create it (docs/decisions/0010). Pure.
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
"""Under this name `spec.backendConfig` says which Secret holds them; no caller may."""
WHO = ("agent_url", "agent_card_path")
"""What says which agent the credentials are for."""


def credentials_of(arguments: SpawnArguments) -> dict[str, Any]:
    """Return the credentials among the arguments."""
    given = arguments.backend_config or {}
    return {key: given[key] for key in CREDENTIALS if given.get(key)}


def without_credentials(arguments: SpawnArguments) -> SpawnArguments:
    """Return the arguments as everybody who can read runs may see them."""
    if not arguments.backend_config:
        return arguments
    kept = {k: v for k, v in arguments.backend_config.items() if k not in CREDENTIALS}
    return arguments.model_copy(update={"backend_config": kept})


def with_reference(config: dict[str, Any] | None, run_id: str) -> dict[str, Any]:
    """Say in a run's settings which Secret holds its credentials."""
    return {**(config or {}), REFERENCE: backend_secret_name(run_id)}


def inherit(spec: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Name the Secret of an earlier run in a run's spec, if both are for the same agent."""
    config = spec.get("backendConfig") or {}
    before = before or {}
    is_same = all(config.get(key) == before.get(key) for key in WHO)
    if is_same and REFERENCE in before and REFERENCE not in config:
        spec["backendConfig"] = {**config, REFERENCE: before[REFERENCE]}


def inherited_from(spec: dict[str, Any], run_id: str) -> str | None:
    """Name the run whose credentials a run would use that was given none of its own."""
    giver = giver_of((spec.get("backendConfig") or {}).get(REFERENCE))
    return giver if giver != run_id else None


def disinherit(spec: dict[str, Any]) -> None:
    """Leave out of a run's spec the Secret that was given by somebody else."""
    spec["backendConfig"] = {k: v for k, v in spec["backendConfig"].items() if k != REFERENCE}


def build_secret(
    credentials: dict[str, Any], config: dict[str, Any], run: AgentRun, session: AgentSession
) -> dict[str, Any]:
    """Build the Secret; in it stands which agent it is for, so that it goes nowhere else."""
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
