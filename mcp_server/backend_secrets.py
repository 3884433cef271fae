"""
Credentials for a remote agent: removed from spawn_run's arguments and stored in a Secret.

The Secret is created with the run and its session as owners, so the MCP server only needs the
permission to create Secrets (docs/decisions/0010). The functions are pure.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Credentials:
    """The credentials for a remote agent, and the agent that they are for."""

    data: Mapping[str, str] = field(repr=False)
    """The Secret's data."""


def separate_credentials(arguments: SpawnArguments) -> tuple[SpawnArguments, Credentials | None]:
    """Return the arguments without credentials, as stored in the run, and the credentials."""
    given = arguments.backend_config
    if not given:
        return arguments, None
    public = {key: value for key, value in given.items() if key not in CREDENTIALS}
    data = {key: str(given.get(key) or "") for key in WHO}
    if token := given.get("auth_token"):
        data["auth_token"] = token
    if headers := given.get("headers"):
        data["headers"] = json.dumps(headers)
    credentials = Credentials(data) if len(data) > len(WHO) else None
    return arguments.model_copy(update={"backend_config": public}), credentials


def add_reference(spec: dict[str, Any], run_id: str) -> None:
    """Refer to the Secret with a run's own credentials in its spec."""
    config = spec.get("backendConfig") or {}
    spec["backendConfig"] = {**config, REFERENCE: backend_secret_name(run_id)}


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


def build_secret(credentials: Credentials, run: AgentRun, session: AgentSession) -> dict[str, Any]:
    """Build the Secret. It names the agent it is for, so that it is not sent to another one."""
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
        "data": {
            key: base64.b64encode(text.encode()).decode() for key, text in credentials.data.items()
        },
    }
