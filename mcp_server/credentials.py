"""Stores the credentials in spawn_run's arguments in a Secret that only the run's pod reads."""

from typing import Protocol

from agentrun.api.pod_layout import REQUESTED_BY
from agentrun.api.v1alpha1 import AgentRun, AgentSession
from mcp_server.backend_secrets import build_secret, credentials_of
from mcp_server.kube import RUNS, SECRETS, ApiError, Object, Resource
from mcp_server.manifests import build_cancellation
from mcp_server.schemas import SpawnArguments


class Writer(Protocol):
    """The requests of ``store_credentials`` to the API server."""

    async def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Create an object."""

    async def patch(self, resource: Resource, namespace: str, name: str, patch: Object) -> Object:
        """Patch an object."""


async def store_credentials(
    kube: Writer, arguments: SpawnArguments, run: AgentRun, session: AgentSession
) -> None:
    """
    Create the Secret that the run's pod waits for. Idempotent.

    If it cannot be created, the run is cancelled and ApiError is raised.
    """
    credentials = credentials_of(arguments)
    if not credentials or run.phase.is_terminal:
        return
    namespace, config = run.metadata.namespace, arguments.backend_config or {}
    try:
        await kube.create(SECRETS, namespace, build_secret(credentials, config, run, session))
    except ApiError as error:
        if error.status == 409:
            return  # created by an earlier try of the same request
        why = f"The Secret with its credentials could not be created: {error.message}"
        patch = build_cancellation(run, run.metadata.annotations.get(REQUESTED_BY, ""), why)
        if patch is not None:
            await kube.patch(RUNS, namespace, run.metadata.name, patch)
        raise
