"""
The credentials of runs for remote agents: a Secret that only the run's pod reads.

A run has its own, which spawn_run was given, or inherits those of an earlier run.
"""

import logging
from collections.abc import Awaitable, Callable

from agentrun.api.pod_layout import REQUESTED_BY
from agentrun.api.v1alpha1 import AgentRun, AgentSession
from agentrun.kube.api import KubeApi, Object
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import RUNS, SECRETS
from agentrun.store.base import RunRow
from mcp_server.backend_secrets import (
    Credentials,
    build_secret,
    disinherit,
    inherit,
    inherited_from,
)
from mcp_server.manifests import build_cancellation

_log = logging.getLogger(__name__)

Find = Callable[[str, str], Awaitable[RunRow | None]]
"""Finds a run by its namespace and name."""


async def inherit_credentials(find: Find, body: Object, session: AgentSession) -> None:
    """Have a run use the credentials of its session's newest run, if it has none of its own."""
    last = session.status.last_run
    row = await find(session.metadata.namespace, last) if last else None
    if row is not None:
        inherit(body["spec"], row.run.spec.backend_config)


async def drop_foreign_credentials(find: Find, namespace: str, body: Object) -> None:
    """Remove the reference to inherited credentials that another caller provided from a run."""
    meta = body["metadata"]
    giver = inherited_from(body["spec"], meta["name"])
    if giver is None:
        return
    row = await find(namespace, giver)
    given_by = row.run.metadata.annotations.get(REQUESTED_BY) if row else None
    if given_by != meta["annotations"][REQUESTED_BY]:
        _log.info("run %s: does not inherit the credentials of %s", meta["name"], giver)
        disinherit(body["spec"])


async def store_credentials(
    kube: KubeApi, credentials: Credentials | None, run: AgentRun, session: AgentSession
) -> None:
    """
    Create the Secret that the run's pod waits for, if there are credentials. Idempotent.

    If it cannot be created, the run is cancelled and ApiError is raised.
    """
    if credentials is None or run.phase.is_terminal:
        return
    namespace = run.metadata.namespace
    try:
        await kube.create(SECRETS, namespace, build_secret(credentials, run, session))
    except ApiError as error:
        if error.is_conflict:
            return  # created by an earlier try of the same request
        why = f"The Secret with its credentials could not be created: {error.message}"
        patch = build_cancellation(run, run.metadata.annotations.get(REQUESTED_BY, ""), why)
        if patch is not None:
            await kube.patch(RUNS, namespace, run.metadata.name, patch)
        raise
