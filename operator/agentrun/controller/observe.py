"""
The observed state of a run.

Nearly everything is read from the caches. If an object that a decision depends on is not in the
cache, it is read from the API server, because a watch may lag.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from agentrun.api.base import Model
from agentrun.api.names import pod_name
from agentrun.api.v1alpha1 import (
    AgentProfile,
    AgentRun,
    AgentSession,
    Phase,
    Reason,
)
from agentrun.controller.caches import Caches
from agentrun.controller.endings import has_ended, outcome_of
from agentrun.controller.observed import Observed, PodObservation, SessionObservation, seconds_after
from agentrun.controller.pod.status import observe_pod
from agentrun.kube.api import KubeApi, Object
from agentrun.kube.errors import ApiError
from agentrun.kube.objects import Key, is_cancel_requested, is_finished, is_pod_of, key_of, uid_of
from agentrun.kube.resources import EVENTS, NAMESPACES, PODS, PROFILES, RUNS, SESSIONS, Resource

logger = logging.getLogger(__name__)

STUCK_STARTING_SECONDS = 2
"""
The age at which the Events of a pod that has not started are first listed, and the interval after.

Most pods have started by then. Listing Events is expensive: its cost grows with the number of
Events in the namespace, because the API server holds none of them in memory.
"""

_M = TypeVar("_M", bound=Model)


class MalformedObjectError(Exception):
    """An object of the API server does not match the schema of its kind."""

    def __init__(self, kind: Resource, obj: Object, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.obj = obj


def parse_object(model: type[_M], kind: Resource, obj: Object) -> _M:
    """Parse an object of the API server. Raises MalformedObjectError if it is invalid."""
    try:
        return model.model_validate(obj)
    except ValidationError as error:
        raise MalformedObjectError(kind, obj, f"it does not match its schema: {error}") from error


@dataclass(frozen=True)
class Observer:
    """Reads the observed state of runs from the caches and the API server."""

    kube: KubeApi
    caches: Caches

    async def find(self, kind: Resource, key: Key) -> Object | None:
        """Return an object from the cache, else from the API server; None if it does not exist."""
        cached = self.caches.of(kind).get(key)
        return cached if cached is not None else await self.fetch(kind, key)

    async def fetch(self, kind: Resource, key: Key) -> Object | None:
        """Read an object from the API server and update the cache; None if it does not exist."""
        cache, obj = self.caches.of(kind), await self.kube.find(kind, *key)
        if obj is not None:
            cache.put(key[0], obj)
        elif (cached := cache.get(key)) is not None:
            cache.remove(*key, uid_of(cached))
        return obj

    async def refresh(self, run: AgentRun) -> AgentRun | None:
        """Read a run, its profile and its pod from the API server; None if the run is gone."""
        namespace = run.metadata.namespace
        await self.fetch(PROFILES, (namespace, run.spec.profile_name))
        if run.attempts > 0:
            await self.fetch(PODS, (namespace, pod_name(run.metadata.name, run.attempts)))
        fresh = await self.fetch(RUNS, (namespace, run.metadata.name))
        if fresh is None or uid_of(fresh) != run.metadata.uid:
            return None
        return parse_object(AgentRun, RUNS, fresh)

    async def observe(self, run: AgentRun, now: datetime) -> tuple[AgentRun, Observed]:
        """Return the observed state of ``run``, and the run, possibly in a newer version."""
        key = run.metadata.namespace, run.metadata.name
        pods = [
            await self._observe_pod(pod, now, is_told=run.is_finished)
            for pod in self.caches.pods_of(key)
            if is_pod_of(pod, run.metadata.uid)
        ]
        name = pod_name(run.metadata.name, run.attempts)
        current = next((pod for pod in pods if pod.name == name), None)
        others = tuple(pod for pod in pods if pod.name != name)
        if current is None and run.attempts > 0 and not run.is_finished:
            current = await self._look_for_pod(run, name, now)
        run = await self._with_reported_outcome(run, current)
        observed = Observed(
            session=await self._session(run),
            profile=await self._profile(run),
            pod=current,
            others=others,
            orphaned=await self._orphaned(run),
            has_live_children=self._has_live_children(key),
            namespace_ends=await self._loses_its_namespace(run, current),
        )
        return run, observed

    async def _loses_its_namespace(self, run: AgentRun, pod: PodObservation | None) -> bool:
        """Whether a pod was lost because its namespace is being deleted."""
        is_lost = run.attempts > 0 and (pod is None or pod.finished or pod.is_terminating)
        if run.is_finished or not is_lost or has_ended(outcome_of(run, pod)):
            return False
        try:
            namespace = await self.kube.find(NAMESPACES, run.metadata.namespace, "")
        except ApiError as error:
            # This only refines the reason: the run ends without it as well.
            logger.debug("namespace %s cannot be read: %s", run.metadata.namespace, error)
            return False
        return bool(namespace and namespace["metadata"].get("deletionTimestamp"))

    async def _orphaned(self, run: AgentRun) -> str:
        """Return a message if the parent of ``run`` was cancelled or deleted; empty otherwise."""
        parent = run.spec.parent
        if parent is None or run.is_finished:
            return ""
        key = run.metadata.namespace, parent.name
        found = await self.find(RUNS, key)
        if found is None or uid_of(found) != parent.uid:
            # A finished run is retained for its children, so this parent was deleted on request.
            found = await self.fetch(RUNS, key)
        if found is None or uid_of(found) != parent.uid:
            return f"The parent, run {parent.name}, was deleted."
        if is_cancelled(found):
            return f"The parent, run {parent.name}, was cancelled."
        return ""

    def _has_live_children(self, key: Key) -> bool:
        uid = uid_of(self.caches.of(RUNS).get(key) or {"metadata": {"uid": ""}})
        return any(
            run["spec"]["parent"].get("uid") == uid and not is_finished(run)
            for run in self.caches.children_of(key)
        )

    async def _look_for_pod(self, run: AgentRun, name: str, now: datetime) -> PodObservation | None:
        pod = await self.fetch(PODS, (run.metadata.namespace, name))
        if pod is None or not is_pod_of(pod, run.metadata.uid):
            return None
        return await self._observe_pod(pod, now)

    async def _with_reported_outcome(self, run: AgentRun, pod: PodObservation | None) -> AgentRun:
        """
        Read the newest outcome of the runner before the end of its pod is evaluated.

        The outcome was stored before the pod ended, but the two arrive over different watches.
        """
        is_over = run.attempts > 0 and (pod is None or pod.finished)
        if run.is_finished or not is_over or outcome_of(run, None) is not None:
            return run
        fresh = await self.fetch(RUNS, (run.metadata.namespace, run.metadata.name))
        if fresh is None or uid_of(fresh) != run.metadata.uid:
            return run
        newest = parse_object(AgentRun, RUNS, fresh)
        return newest if newest.attempts == run.attempts else run

    async def _observe_pod(
        self, pod: Object, now: datetime, is_told: bool = False
    ) -> PodObservation:
        observed = observe_pod(pod)
        is_new = observed.created is not None and now < seconds_after(
            observed.created, STUCK_STARTING_SECONDS
        )
        # The end of a run is reported once; its Events are not listed again.
        is_unexplained = is_ended_by_nobody(observed) and not is_told
        if not is_unexplained and (is_new or not is_stuck_starting(observed)):
            return observed
        namespace, _ = key_of(pod)
        fields = f"involvedObject.uid={observed.uid}"
        try:
            events, _ = await self.kube.list(EVENTS, namespace, fields=fields)
        except ApiError as error:
            # Events only explain; the deadlines hold without them.
            logger.warning("pod %s: its Events cannot be read: %s", observed.name, error)
            return observed
        return observe_pod(pod, events)

    async def _profile(self, run: AgentRun) -> AgentProfile | None:
        if run.is_finished:
            return None
        profile = await self.find(PROFILES, (run.metadata.namespace, run.spec.profile_name))
        return parse_object(AgentProfile, PROFILES, profile) if profile else None

    async def _session(self, run: AgentRun) -> SessionObservation:
        name = run.session_name
        key = run.metadata.namespace, name
        if run.is_finished:
            obj = self.caches.of(SESSIONS).get(key)
        else:
            obj = await self.find(SESSIONS, key)
        if obj is None:
            return SessionObservation(name)
        session = parse_object(AgentSession, SESSIONS, obj)
        active = session.status.active_run
        return SessionObservation(
            name=name,
            exists=True,
            backend=session.spec.backend,
            resource_version=session.metadata.resource_version,
            active=active,
            holder_is_over=active is not None and self.is_over(key[0], active.name, active.uid),
            first_in_line=self._first_in_line(key),
            has_snapshot=session.status.is_resumable,
            snapshot_error=session.status.snapshot_error or "",
        )

    def is_over(self, namespace: str, name: str, uid: str) -> bool:
        """Whether the run with ``uid`` is finished, or gone with all its pods."""
        run = self.caches.of(RUNS).get((namespace, name))
        if run is not None and uid_of(run) == uid:
            return is_finished(run)
        return not any(is_pod_of(pod, uid) for pod in self.caches.pods_of((namespace, name)))

    def _first_in_line(self, session: Key) -> str:
        for run in self.caches.runs_of(session):
            if not is_cancel_requested(run) and not is_finished(run):
                return str(run["metadata"]["name"])
        return ""


def is_cancelled(run: Object) -> bool:
    """Whether a run is cancelled, being deleted, or requested to be cancelled."""
    is_going = run["metadata"].get("deletionTimestamp") is not None
    return (
        is_going
        or is_cancel_requested(run)
        or run.get("status", {}).get("phase") == Phase.CANCELLED
    )


def is_stuck_starting(pod: PodObservation) -> bool:
    """Whether a container of a scheduled pod has not started for a reason to look up in Events."""
    is_waiting = bool(pod.node and pod.not_started)
    is_told = pod.failure is not None and pod.failure.reason is not Reason.IMAGE_PULL_FAILED
    return is_waiting and not (pod.finished or is_told or pod.is_terminating)


def is_ended_by_nobody(pod: PodObservation) -> bool:
    """Whether a pod has ended without an outcome and its status does not explain why."""
    is_told = has_ended(pod.outcome) or pod.disruption is not None or pod.is_terminating
    return pod.finished and not is_told
