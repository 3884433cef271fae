"""The gateway's access to the API server."""

import logging
from typing import Any, TypeVar

from pydantic import ValidationError

from agentrun.api.base import Model
from agentrun.api.quarantine import named, readable
from agentrun.api.v1alpha1 import API_VERSION, AgentProfile, AgentRun, AgentSession, AgentStatus
from mcp_server.gateway.ports import (
    Change,
    ClusterUnavailableError,
    RunGoneError,
    StatusRefusedError,
)
from mcp_server.kube import (
    APPLY_PATCH,
    PROFILES,
    RUNS,
    SESSIONS,
    ApiError,
    ApiUnavailableError,
    Kube,
    Resource,
)

_log = logging.getLogger(__name__)

FIELD_MANAGER = "agentrun-gateway"
"""The field manager of ``status.agent``, as in ``kubectl get --show-managed-fields``."""

_M = TypeVar("_M", bound=Model)
_INVALID = (400, 413, 422)
# The operator and other replicas write the same object; each try reads the newest version.
_TRIES = 5


class KubernetesRunDirectory:
    """A ``RunDirectory`` that uses the API server."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def get(self, namespace: str, name: str) -> AgentRun | None:
        """See ``RunDirectory``."""
        found = await self._get(RUNS, namespace, name)
        return None if found is None else _as(AgentRun, found)

    async def profile(self, namespace: str, name: str) -> AgentProfile | None:
        """See ``RunDirectory``."""
        found = await self._get(PROFILES, namespace, name)
        return None if found is None else _as(AgentProfile, found)

    async def session(self, namespace: str, name: str) -> AgentSession | None:
        """See ``RunDirectory``."""
        found = await self._get(SESSIONS, namespace, name)
        return None if found is None else _as(AgentSession, found)

    async def change_agent_status(self, run: AgentRun, change: Change) -> AgentRun:
        """See ``RunDirectory``."""
        name = run.metadata.name
        for _ in range(_TRIES):
            status = change(run)
            if status is None:
                return run
            try:
                return await self._apply(run, status)
            except ApiError as error:
                if error.status in _INVALID:
                    message = f"The API server rejected the status of run {name}:"
                    raise StatusRefusedError(f"{message} {error.message}") from error
                if error.status not in (404, 409):
                    raise _unavailable(error, f"applying the status of run {name}") from error
            run = await self._newest(run)
        raise ClusterUnavailableError(
            f"Run {name} changed {_TRIES} times while its status was written."
        )

    async def _apply(self, run: AgentRun, status: AgentStatus) -> AgentRun:
        meta = run.metadata
        body = {
            "apiVersion": API_VERSION,
            "kind": run.kind,
            # The API server ignores the uid of an applied status. A resourceVersion is never
            # reused, so a later run of the same name is not changed.
            "metadata": {"name": meta.name, "resourceVersion": meta.resource_version},
            "status": {"agent": status.to_json()},
        }
        applied = await self._kube.patch(
            RUNS,
            meta.namespace,
            meta.name,
            body,
            subresource="status",
            content_type=APPLY_PATCH,
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
        )
        return _as(AgentRun, applied)

    async def _newest(self, run: AgentRun) -> AgentRun:
        """Read a run again. Raises RunGoneError if it was deleted or has been replaced."""
        now = await self.get(run.metadata.namespace, run.metadata.name)
        if now is None or now.metadata.uid != run.metadata.uid:
            raise RunGoneError(f"Run {run.metadata.name} was deleted.")
        return now

    async def _get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        try:
            return await self._kube.get(resource, namespace, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise _unavailable(error, f"reading {resource.plural}/{name}") from error


def _as(model: type[_M], found: dict[str, Any]) -> _M:
    """
    Parse an object.

    Raises ClusterUnavailableError if it cannot be read, so that the request is retried until the
    object is repaired.
    """
    try:
        return model.model_validate(readable(found))
    except ValidationError as error:
        what = f"{model.__name__} {named(found)[0]}"
        raise ClusterUnavailableError(
            f"{what} cannot be read: {error.errors()[0]['msg']}."
        ) from error


def _unavailable(error: ApiError, doing: str) -> ClusterUnavailableError:
    if not isinstance(error, ApiUnavailableError):
        # Retries do not help: permissions or the CRDs are missing.
        _log.error("%s in the cluster failed: %s", doing, error.message)
    return ClusterUnavailableError(f"The API server failed while {doing}: {error.message}.")
