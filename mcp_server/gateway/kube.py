"""The gateway's access to the API server."""

import logging
from typing import Any, TypeVar

from pydantic import ValidationError

from agentrun.api.base import Model
from agentrun.api.quarantine import named, readable
from agentrun.api.v1alpha1 import API_VERSION, AgentProfile, AgentRun, AgentSession, AgentStatus
from agentrun.kube.api import APPLY_PATCH, KubeApi
from agentrun.kube.conflict import retry_on_conflict
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import PROFILES, RUNS, SESSIONS, Resource
from mcp_server.gateway.ports import (
    Change,
    ClusterUnavailableError,
    RunGoneError,
    StatusRefusedError,
)

_log = logging.getLogger(__name__)

FIELD_MANAGER = "agentrun-gateway"
"""The field manager of ``status.agent``, as in ``kubectl get --show-managed-fields``."""

_M = TypeVar("_M", bound=Model)
_INVALID = (400, 413, 422)
_TRIES = 5


class KubernetesRunDirectory:
    """A ``RunDirectory`` that uses the API server."""

    def __init__(self, kube: KubeApi) -> None:
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
        # The first try is based on the run as the caller has read it.
        read: AgentRun | None = run

        async def update() -> AgentRun:
            nonlocal read
            current, read = read or await self._newest(run), None
            status = change(current)
            return current if status is None else await self._apply(current, status)

        try:
            return await retry_on_conflict(update, _TRIES, _is_conflict)
        except ApiError as error:
            if error.status in _INVALID:
                message = f"The API server rejected the status of run {name}:"
                raise StatusRefusedError(f"{message} {error.message}") from error
            if _is_conflict(error):
                raise ClusterUnavailableError(
                    f"Run {name} changed {_TRIES} times while its status was written."
                ) from error
            raise _unavailable(error, f"applying the status of run {name}") from error

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
            return await self._kube.find(resource, namespace, name)
        except ApiError as error:
            raise _unavailable(error, f"reading {resource.plural}/{name}") from error


def _is_conflict(error: ApiError) -> bool:
    # The operator and other replicas write the same object. An invalid status (422) stays so.
    return error.is_not_found or error.is_conflict


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
