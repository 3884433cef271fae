"""Keeping what spawn_run was given for a remote agent where only the run's pod can read it."""

from typing import Protocol

from agentrun.api.pod_layout import REQUESTED_BY
from agentrun.api.v1alpha1 import AgentRun, AgentSession
from mcp_server.backend_secrets import build_secret, credentials_of
from mcp_server.kube import RUNS, SECRETS, ApiError, Object, Resource
from mcp_server.manifests import build_cancellation
from mcp_server.schemas import SpawnArguments


class Writer(Protocol):
    """What it asks of the API server."""

    async def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Create an object."""

    async def patch(self, resource: Resource, namespace: str, name: str, patch: Object) -> Object:
        """Change an object."""


async def store_credentials(
    kube: Writer, arguments: SpawnArguments, run: AgentRun, session: AgentSession
) -> None:
    """
    Make the Secret that the run's pod waits for; without it the run is not wanted.

    Doing it again does no harm.
    """
    credentials = credentials_of(arguments)
    if not credentials or run.phase.is_terminal:
        return
    namespace, config = run.metadata.namespace, arguments.backend_config or {}
    try:
        await kube.create(SECRETS, namespace, build_secret(credentials, config, run, session))
    except ApiError as error:
        if error.status == 409:
            return  # an earlier try of the same request made it
        why = f"The Secret with its credentials could not be made: {error.message}"
        patch = build_cancellation(run, run.metadata.annotations.get(REQUESTED_BY, ""), why)
        if patch is not None:
            await kube.patch(RUNS, namespace, run.metadata.name, patch)
        raise
