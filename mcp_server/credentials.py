"""Stores the credentials in spawn_run's arguments in a Secret that only the run's pod reads."""

from agentrun.api.pod_layout import REQUESTED_BY
from agentrun.api.v1alpha1 import AgentRun, AgentSession
from agentrun.kube.api import KubeApi
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import RUNS, SECRETS
from mcp_server.backend_secrets import build_secret, credentials_of
from mcp_server.manifests import build_cancellation
from mcp_server.schemas import SpawnArguments


async def store_credentials(
    kube: KubeApi, arguments: SpawnArguments, run: AgentRun, session: AgentSession
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
        if error.is_conflict:
            return  # created by an earlier try of the same request
        why = f"The Secret with its credentials could not be created: {error.message}"
        patch = build_cancellation(run, run.metadata.annotations.get(REQUESTED_BY, ""), why)
        if patch is not None:
            await kube.patch(RUNS, namespace, run.metadata.name, patch)
        raise
