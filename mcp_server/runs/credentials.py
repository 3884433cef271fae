"""
The credentials of runs for remote agents: a Secret that only the run's pod reads.

A run has its own, which spawn_run was given, or inherits those of an earlier run. The Secret is
created with the run and its session as owners, so the MCP server only needs the permission to
create Secrets (docs/decisions/0010).
"""

import base64
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentrun.api.names import backend_secret_name, giver_of
from agentrun.api.pod_layout import LABEL_RUN, REQUESTED_BY
from agentrun.api.v1alpha1 import API_VERSION, AgentRun, AgentSession
from agentrun.kube.api import KubeApi, Object
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import RUNS, SECRETS
from agentrun.store.base import RunRow
from mcp_server.runs.manifests import CREDENTIALS, REFERENCE, build_cancellation
from mcp_server.schemas.runs import SpawnArguments

WHO = ("agent_url", "agent_card_path")
"""The keys that identify the agent that the credentials are for."""

_log = logging.getLogger(__name__)

Find = Callable[[str, str], Awaitable[RunRow | None]]
"""Finds a run by its namespace and name."""


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


async def inherit_credentials(find: Find, body: Object, session: AgentSession) -> None:
    """Have a run use the credentials of its session's newest run, if it has none of its own."""
    last = session.status.last_run
    row = await find(session.metadata.namespace, last) if last else None
    if row is not None:
        inherit(body["spec"], row.run.spec.backend_config)


async def drop_foreign_credentials(find: Find, namespace: str, body: Object) -> None:
    """Remove the reference to inherited credentials that another caller provided from a run."""
    meta, config = body["metadata"], body["spec"].get("backendConfig") or {}
    giver = giver_of(config.get(REFERENCE))
    if giver in (None, meta["name"]):
        return
    row = await find(namespace, giver)
    given_by = row.run.metadata.annotations.get(REQUESTED_BY) if row else None
    if given_by != meta["annotations"][REQUESTED_BY]:
        _log.info("run %s: does not inherit the credentials of %s", meta["name"], giver)
        body["spec"]["backendConfig"] = {k: v for k, v in config.items() if k != REFERENCE}


async def store_credentials(
    kube: KubeApi, credentials: Credentials | None, run: AgentRun, session: AgentSession
) -> None:
    """
    Create the Secret that the run's pod waits for, if there are credentials. Idempotent.

    If it cannot be created, the run is cancelled and ApiError is raised.
    """
    if credentials is None or run.is_finished:
        return
    namespace = run.metadata.namespace
    try:
        await kube.create(SECRETS, namespace, build_secret(credentials, run, session))
    except ApiError as error:
        if error.already_exists:
            return  # created by an earlier try of the same request
        why = f"The Secret with its credentials could not be created: {error.message}"
        patch = build_cancellation(run, run.metadata.annotations.get(REQUESTED_BY, ""), why)
        if patch is not None:
            await kube.patch(RUNS, namespace, run.metadata.name, patch)
        raise
