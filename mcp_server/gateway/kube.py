"""The gateway's view of the cluster, through the API server."""

import logging
from typing import Any

from agentrun.api.v1alpha1 import API_VERSION, AgentProfile, AgentRun, AgentSession, AgentStatus
from mcp_server.gateway.ports import ClusterUnavailable, RunGone, StatusRefused
from mcp_server.kube import (
    APPLY_PATCH,
    PROFILES,
    RUNS,
    SESSIONS,
    ApiError,
    ApiUnavailable,
    Kube,
    Resource,
)

_log = logging.getLogger(__name__)

FIELD_MANAGER = "agentrun-gateway"
"""The owner of ``status.agent``, as ``kubectl get --show-managed-fields`` names it."""

_INVALID = (400, 413, 422)


class KubernetesRunDirectory:
    """A RunDirectory on the API server."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def get(self, namespace: str, name: str) -> AgentRun | None:
        """See ``RunDirectory``."""
        found = await self._get(RUNS, namespace, name)
        return None if found is None else AgentRun.model_validate(found)

    async def profile(self, namespace: str, name: str) -> AgentProfile | None:
        """See ``RunDirectory``."""
        found = await self._get(PROFILES, namespace, name)
        return None if found is None else AgentProfile.model_validate(found)

    async def session(self, namespace: str, name: str) -> AgentSession | None:
        """See ``RunDirectory``."""
        found = await self._get(SESSIONS, namespace, name)
        return None if found is None else AgentSession.model_validate(found)

    async def apply_agent_status(self, run: AgentRun, status: AgentStatus) -> AgentRun:
        """See ``RunDirectory``."""
        meta = run.metadata
        body = {
            "apiVersion": API_VERSION,
            "kind": run.kind,
            # With the uid, it is refused when the name belongs to another run by now.
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "status": {"agent": status.to_json()},
        }
        try:
            applied = await self._kube.patch(
                RUNS,
                meta.namespace,
                meta.name,
                body,
                subresource="status",
                content_type=APPLY_PATCH,
                query={"fieldManager": FIELD_MANAGER, "force": "true"},
            )
        except ApiError as error:
            await self._refuse(error, run)
            raise _unavailable(error, f"applying the status of run {meta.name}") from error
        return AgentRun.model_validate(applied)

    async def _refuse(self, error: ApiError, run: AgentRun) -> None:
        """Raise what is final in ``error``."""
        meta = run.metadata
        if error.status in _INVALID:
            message = f"The API server does not take the status of run {meta.name}:"
            raise StatusRefused(f"{message} {error.message}") from error
        if error.status not in (404, 409):
            return
        now = await self.get(meta.namespace, meta.name)
        if now is None or now.metadata.uid != meta.uid:
            raise RunGone(f"Run {meta.name} was deleted.") from error

    async def _get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        try:
            return await self._kube.get(resource, namespace, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise _unavailable(error, f"reading {resource.plural}/{name}") from error


def _unavailable(error: ApiError, doing: str) -> ClusterUnavailable:
    if not isinstance(error, ApiUnavailable):
        # It will not go away by itself: rights are missing, or the CRDs.
        _log.error("%s in the cluster failed: %s", doing, error.message)
    return ClusterUnavailable(f"The API server failed at {doing}: {error.message}.")
