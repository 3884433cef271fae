"""
Applies the actions of a decision.

Each action is idempotent: an object that already exists counts as created, one that is gone as
deleted. The API server's responses are stored in the caches, so that the next decision is based on
them.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never

from agentrun.api.base import API_VERSION
from agentrun.api.names import pod_name
from agentrun.api.v1alpha1 import (
    ActiveRun,
    AgentProfile,
    AgentRun,
    AgentRunStatus,
    AgentSessionStatus,
    Reason,
)
from agentrun.controller.actions import (
    AcquireSession,
    Action,
    CreatePod,
    CreateSession,
    DeletePod,
    DeleteRun,
    ReleaseSession,
    RequeueAt,
    SetStatus,
)
from agentrun.controller.caches import Caches
from agentrun.controller.events import EventSink
from agentrun.controller.observed import Failure, WaitClass
from agentrun.controller.pod.manifest import build_pod
from agentrun.controller.pod.status import creation_failure
from agentrun.controller.sessions import format_time, session_status_after
from agentrun.controller.settings import OperatorTimeouts, PodDefaults
from agentrun.controller.status import status_patch
from agentrun.kube.api import KubeApi, Object
from agentrun.kube.errors import ApiError
from agentrun.kube.objects import holder_of, is_pod_of, key_of, run_uid_of, uid_of
from agentrun.kube.resources import PODS, RUNS, SESSIONS, Resource

logger = logging.getLogger(__name__)


class StaleError(Exception):
    """The object that a decision was based on has changed: read it and decide again."""


@dataclass(frozen=True)
class Applier:
    """Applies actions to the cluster."""

    kube: KubeApi
    caches: Caches
    pod: PodDefaults
    timeouts: OperatorTimeouts
    events: EventSink

    async def apply(
        self, actions: list[Action], run: AgentRun, profile: AgentProfile | None, now: datetime
    ) -> Failure | None:
        """Apply ``actions`` in order; stop at one that the API server rejects, and return why."""
        for action in actions:
            failure: Failure | None = None
            match action:
                case SetStatus():
                    run = await self._set_status(run, action)
                case CreatePod():
                    failure = await self._create_pod(run, profile)
                case DeletePod():
                    await self.delete_pod(run.metadata.namespace, action.name, action.uid)
                case CreateSession():
                    failure = await self._create_session(run, action)
                case AcquireSession() | ReleaseSession():
                    failure = await self._write_session_holder(run, action, now)
                case DeleteRun():
                    meta = run.metadata
                    await self.kube.delete(RUNS, meta.namespace, meta.name, meta.uid)
                case RequeueAt():
                    pass  # the work queue handles it
                case _:
                    assert_never(action)
            if failure is not None:
                return failure
        return None

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        """Delete a pod with the grace period of its spec."""
        answer = await self.kube.delete(PODS, namespace, name, uid)
        if answer and answer.get("kind") == "Pod" and answer["metadata"].get("deletionTimestamp"):
            self.caches.of(PODS).put(namespace, answer)

    async def release_session(self, session: Object) -> None:
        """Release a session whose holder is gone."""
        version = session["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "status": {"activeRun": None}}
        await self._patch(SESSIONS, *key_of(session), body)

    async def _set_status(self, run: AgentRun, action: SetStatus) -> AgentRun:
        meta = run.metadata
        # The patch is relative to the version that the decision was based on, not to the newest:
        # another operator instance that has not terminated yet may have written in between.
        patch = status_patch(run.status, action.status)
        if not patch:
            return run
        # With the uid, the patch does not apply to another run of the same name.
        precondition: dict[str, Any] = {"uid": meta.uid}
        if action.guarded:
            precondition["resourceVersion"] = meta.resource_version
        body = {"metadata": precondition, "status": patch}
        answer = await self._patch(RUNS, meta.namespace, meta.name, body)
        if _changes_what_users_see(run.status, action.status):
            self.events.record(answer)
        return AgentRun.model_validate(answer)

    async def _create_pod(self, run: AgentRun, profile: AgentProfile | None) -> Failure | None:
        if profile is None:
            raise StaleError("the profile was deleted before its pod was created")
        namespace = run.metadata.namespace
        manifest = build_pod(run, profile, self.pod, self.timeouts)
        try:
            return await self._create(PODS, namespace, manifest)
        except ApiError as error:
            if not error.already_exists:
                raise
            return await self._adopt_pod(run)

    async def _adopt_pod(self, run: AgentRun) -> Failure | None:
        """Use the existing pod of that name if it belongs to the run; else return a failure."""
        name = pod_name(run.metadata.name, run.attempts)
        pod = await self.kube.find(PODS, run.metadata.namespace, name)
        if pod is None:
            raise StaleError(f"pod {name} was deleted before it was read")
        self.caches.of(PODS).put(run.metadata.namespace, pod)
        if is_pod_of(pod, run.metadata.uid):
            return None
        # A pod of an earlier run of that name is going to be deleted; a foreign pod stays.
        passes = run_uid_of(pod) is not None or "deletionTimestamp" in pod["metadata"]
        message = f"Pod {name} exists and does not belong to this run."
        wait_class = WaitClass.STUCK if passes else WaitClass.NONE
        return Failure(Reason.POD_NAME_TAKEN, message, wait_class)

    async def _create_session(self, run: AgentRun, action: CreateSession) -> Failure | None:
        namespace = run.metadata.namespace
        body: Object = {
            "apiVersion": API_VERSION,
            "kind": "AgentSession",
            "metadata": {"name": action.name, "namespace": namespace},
            "spec": {"backend": action.backend},
        }
        try:
            return await self._create(SESSIONS, namespace, body)
        except ApiError as error:
            if not error.already_exists:
                raise
            raise StaleError(f"session {action.name} was created concurrently") from error

    async def _create(self, kind: Resource, namespace: str, body: Object) -> Failure | None:
        """Create an object. Raises ApiError if it exists, or if its namespace is being deleted."""
        what = f"{body['kind']} {body['metadata']['name']}"
        try:
            created = await self.kube.create(kind, namespace, body)
        except ApiError as error:
            failure = None if error.already_exists else creation_failure(error, what)
            if failure is None:
                raise
            return failure
        self.caches.of(kind).put(namespace, created)
        return None

    async def _write_session_holder(
        self, run: AgentRun, action: AcquireSession | ReleaseSession, now: datetime
    ) -> Failure | None:
        meta = run.metadata
        holder = ActiveRun(name=meta.name, uid=meta.uid)
        if isinstance(action, AcquireSession):
            taken = AgentSessionStatus(active_run=holder, last_run=meta.name, updated_at=now)
            status = taken.to_json()
        else:
            status = {
                "activeRun": None,
                "updatedAt": format_time(now),
                **self._session_status_after(run, action),
            }
        body = {"metadata": {"resourceVersion": action.resource_version}, "status": status}
        try:
            await self._patch(SESSIONS, meta.namespace, action.name, body)
        except ApiError as error:
            if not error.is_denied:
                raise
            return creation_failure(error, f"AgentSession {action.name}")
        return None

    def _session_status_after(self, run: AgentRun, action: ReleaseSession) -> Object:
        """Return the session status that the holder leaves; empty if the holder is gone."""
        namespace = run.metadata.namespace
        session = self.caches.of(SESSIONS).get((namespace, action.name))
        name, uid = holder_of(session or {}) or ("", "")
        if uid == run.metadata.uid:
            return session_status_after(run)
        found = self.caches.of(RUNS).get((namespace, name))
        is_it = found is not None and uid_of(found) == uid
        return session_status_after(AgentRun.model_validate(found)) if is_it else {}

    async def _patch(self, kind: Resource, namespace: str, name: str, body: Object) -> Object:
        try:
            answer = await self.kube.patch(kind, namespace, name, body, subresource="status")
        except ApiError as error:
            if error.status == 422:
                logger.warning("%s: the API server rejected the status: %s", name, error.message)
            if error.is_stale:
                raise StaleError(error.message) from error
            raise
        self.caches.of(kind).put(namespace, answer)
        return answer


def _changes_what_users_see(old: AgentRunStatus, new: AgentRunStatus) -> bool:
    """Whether the phase, the reason or the number of attempts differs."""
    return (old.phase, old.reason, old.attempts) != (new.phase, new.reason, new.attempts)
