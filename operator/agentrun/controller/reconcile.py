"""
The reconcile loop of a run: observe, decide, act.

A reconcile is level-triggered: it depends on the observed state, never on the event that caused
it, so the number and the causes of reconciles do not matter.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from agentrun.api.quarantine import named
from agentrun.api.v1alpha1 import AgentRun, Reason
from agentrun.controller.actions import Action, RequeueAt, SetStatus
from agentrun.controller.apply import Applier, StaleError
from agentrun.controller.decide import decide, is_ended_by_bound
from agentrun.controller.observe import (
    STUCK_STARTING_SECONDS,
    MalformedObjectError,
    Observer,
    is_stuck_starting,
    parse_object,
)
from agentrun.controller.observed import Failure, Observed
from agentrun.controller.queue import RequeueError, WorkQueue
from agentrun.controller.settings import OperatorTimeouts
from agentrun.kube.api import Object
from agentrun.kube.errors import ApiError
from agentrun.kube.objects import Key, holder_of, key_of, run_uid_of, session_of, uid_of
from agentrun.kube.resources import PROFILES, RUNS, SESSIONS

logger = logging.getLogger(__name__)

# After these, with their backoff, an error has lasted for some seconds.
_UNREPORTED_REQUEUES = 6


@dataclass(frozen=True)
class Reconciler:
    """Reconciles runs."""

    observer: Observer
    applier: Applier
    queue: WorkQueue[Key]
    timeouts: OperatorTimeouts
    clock: Callable[[], datetime]

    async def reconcile(self, key: Key) -> None:
        """Move the run with that key towards its spec. Raises RequeueError to retry."""
        run: Object | None = None
        try:
            run = await self.observer.find(RUNS, key)
            await self._clear(key, run)
            if run is not None:
                await self._advance(key, parse_object(AgentRun, RUNS, run))
        except MalformedObjectError as error:
            odd = error.obj
            self.observer.caches.quarantine.add(error.kind.plural, key[0], odd, str(error))
            # A run that is fixed or deleted causes a watch event; other objects have to be polled.
            if error.kind is not RUNS:
                raise RequeueError(f"{error.kind.plural} {named(odd)[0]}: {error}") from error
        except StaleError as reason:
            logger.debug("run %s: reconciling again: %s", key[1], reason)
            await self._refresh(key, run)
            raise RequeueError(str(reason)) from reason
        except ApiError as error:
            logger.warning("run %s: %s", key[1], error)
            # Retrying does not help if permissions are missing: the next relist tries again.
            if not error.is_forbidden:
                raise RequeueError(str(error)) from error

    async def _advance(self, key: Key, run: AgentRun) -> None:
        run, observed = await self._observe(run)
        rejection = await self._decide_and_apply(key, run, observed)
        if rejection is None:
            return
        logger.warning("run %s: %s", key[1], rejection.message)
        stored = self.observer.caches.of(RUNS).get(key)
        if stored is not None and not self._may_pass(key, rejection):
            run = parse_object(AgentRun, RUNS, stored)
            if not await self._has_new_profile(run, observed, rejection):
                await self._decide_and_apply(key, run, observed, rejection)
        raise RequeueError(rejection.message)

    async def _observe(self, run: AgentRun) -> tuple[AgentRun, Observed]:
        """
        Observe a run: from the caches, unless it is about to be stopped because of a deadline.

        The caches may lack what happened before the deadline, when a watch lags.
        """
        now = self.clock()
        run, observed = await self.observer.observe(run, now)
        if not is_ended_by_bound(run, observed, self.timeouts, now):
            return run, observed
        fresh = await self.observer.refresh(run)
        if fresh is None:
            raise StaleError("the run was deleted before its deadline")
        return await self.observer.observe(fresh, now)

    async def _has_new_profile(self, run: AgentRun, observed: Observed, rejection: Failure) -> bool:
        """Whether a rejection is about to stop the run although its profile has changed since."""
        if not is_ended_by_bound(run, observed, self.timeouts, self.clock(), rejection):
            return False
        key = run.metadata.namespace, run.spec.profile_name
        profile, before = await self.observer.fetch(PROFILES, key), observed.profile
        version = profile["metadata"]["resourceVersion"] if profile else None
        return version != (before.metadata.resource_version if before else None)

    def _may_pass(self, key: Key, rejection: Failure) -> bool:
        """Whether an error of the API server has lasted for less than some seconds."""
        is_transient = rejection.reason is Reason.FAILED_CREATE
        return is_transient and self.queue.requeues_of(key) < _UNREPORTED_REQUEUES

    async def _decide_and_apply(
        self, key: Key, run: AgentRun, observed: Observed, rejection: Failure | None = None
    ) -> Failure | None:
        """Decide, and apply the actions. Return why the API server rejects one; None if not."""
        now = self.clock()
        actions = decide(run, observed, self.timeouts, now, rejection)
        self._plan(key, run, observed, actions, now)
        return await self.applier.apply(actions, run, observed.profile, now)

    def _plan(
        self, key: Key, run: AgentRun, observed: Observed, actions: list[Action], now: datetime
    ) -> None:
        """Log what changes, and schedule the requeues of the run."""
        for action in actions:
            if isinstance(action, RequeueAt):
                self.queue.add_after(key, (action.at - now).total_seconds() + 0.01)
            elif isinstance(action, SetStatus):
                status = action.status
                if (status.phase, status.reason) != (run.status.phase, run.status.reason):
                    logger.info("run %s: %s (%s)", key[1], status.phase, status.reason)
            else:
                logger.info("run %s: %s", key[1], action)
        if observed.pod is not None and is_stuck_starting(observed.pod):
            self.queue.add_after(key, STUCK_STARTING_SECONDS)

    async def _clear(self, key: Key, run: Object | None) -> None:
        """Delete the pods of runs that are gone, and release the sessions they held."""
        uid = uid_of(run) if run else None
        pods = self.observer.caches.pods_of(key)
        leftovers = [pod for pod in pods if run_uid_of(pod) not in (None, uid)]
        if leftovers and run is not None:
            # The cache may be stale: only the API server knows which run is the current one.
            fresh = await self.observer.fetch(RUNS, key)
            uid = uid_of(fresh) if fresh else None
        for pod in leftovers:
            if run_uid_of(pod) != uid and "deletionTimestamp" not in pod["metadata"]:
                logger.info("pod %s: deleting it, its run does not exist", pod["metadata"]["name"])
                await self.applier.delete_pod(*key_of(pod), uid_of(pod))
        if run is None and not leftovers:
            for session in self.observer.caches.of(SESSIONS):
                holder = holder_of(session)
                if holder is not None and (key_of(session)[0], holder[0]) == key:
                    await self.applier.release_session(session)

    async def _refresh(self, key: Key, run: Object | None) -> None:
        """Read the run and its session from the API server after a conflict."""
        fresh = await self.observer.fetch(RUNS, key)
        if found := fresh or run:
            await self.observer.fetch(SESSIONS, session_of(found))
