"""
One turn of a run: look, decide, act.

A turn starts from what is there, never from what happened, so it does not matter how many turns
a run gets, or why.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from agentrun.api.quarantine import named
from agentrun.api.v1alpha1 import AgentRun
from agentrun.controller.act import Actor, Stale
from agentrun.controller.actions import Action, LookAgain, SetStatus
from agentrun.controller.caches import Key, key_of, owner_of, uid_of
from agentrun.controller.decide import decide
from agentrun.controller.kube import ApiError, Kind, Object
from agentrun.controller.observe import (
    HELD_UP_SECONDS,
    NotOfItsKind,
    Observer,
    is_held_up,
    of_its_kind,
)
from agentrun.controller.observed import Observed
from agentrun.controller.queue import TryAgain, WorkQueue

logger = logging.getLogger(__name__)

_FORBIDDEN = 403


@dataclass(frozen=True)
class Reconciler:
    """Gives runs their turns."""

    observer: Observer
    actor: Actor
    queue: WorkQueue[Key]
    clock: Callable[[], datetime]

    async def turn(self, key: Key) -> None:
        """Bring the run of that name closer to what is asked of it."""
        run: Object | None = None
        try:
            run = await self.observer.find(Kind.RUN, key)
            await self._clear(key, run)
            if run is not None:
                await self._advance(key, of_its_kind(AgentRun, Kind.RUN, run))
        except NotOfItsKind as error:
            odd = error.obj
            self.observer.caches.quarantine.add(error.kind.value.plural, key[0], odd, str(error))
            # A run that is mended, or gone, is news; of what a run needs, it has to ask.
            if error.kind is not Kind.RUN:
                raise TryAgain(f"{error.kind.value.plural} {named(odd)[0]}: {error}") from error
        except Stale as reason:
            logger.debug("run %s: deciding again: %s", key[1], reason)
            await self._refresh(key, run)
            raise TryAgain(str(reason)) from reason
        except ApiError as error:
            logger.warning("run %s: %s", key[1], error)
            # Rights do not come from asking again: the next comparison of the caches looks.
            if error.code != _FORBIDDEN:
                raise TryAgain(str(error)) from error

    async def _advance(self, key: Key, run: AgentRun) -> None:
        run, seen = await self.observer.observe(run, self.clock())
        now = self.clock()
        actions = decide(run, seen, now)
        self._plan(key, run, seen, actions, now)
        refusal = await self.actor.act(actions, run, seen.profile, now)
        if refusal is not None:
            await self._say_refused(key, replace(seen, refusal=refusal))

    async def _say_refused(self, key: Key, seen: Observed) -> None:
        """Decide on what the API server did not let be made, and come back later to try again."""
        stored = self.observer.caches.of(Kind.RUN).get(key)
        if stored is None or seen.refusal is None:
            return
        run, now = of_its_kind(AgentRun, Kind.RUN, stored), self.clock()
        actions = decide(run, seen, now)
        self._plan(key, run, seen, actions, now)
        await self.actor.act(actions, run, seen.profile, now)
        raise TryAgain(seen.refusal.message)

    def _plan(
        self, key: Key, run: AgentRun, seen: Observed, actions: list[Action], now: datetime
    ) -> None:
        """Log what changes, and keep the times at which the run needs another turn."""
        for action in actions:
            if isinstance(action, LookAgain):
                self.queue.add_after(key, (action.at - now).total_seconds() + 0.01)
            elif isinstance(action, SetStatus):
                status = action.status
                if (status.phase, status.reason) != (run.status.phase, run.status.reason):
                    logger.info("run %s: %s (%s)", key[1], status.phase, status.reason)
            else:
                logger.info("run %s: %s", key[1], action)
        if seen.pod is not None and is_held_up(seen.pod):
            self.queue.add_after(key, HELD_UP_SECONDS)

    async def _clear(self, key: Key, run: Object | None) -> None:
        """Delete the pods of runs that are gone, and free the sessions they held."""
        uid = uid_of(run) if run else None
        pods = self.observer.caches.pods_of(key)
        leftovers = [pod for pod in pods if (owner := owner_of(pod)) and owner[1] != uid]
        if leftovers and run is not None:
            # The cache may be behind: only the API server knows which run is the present one.
            fresh = await self.observer.fetch(Kind.RUN, key)
            uid = uid_of(fresh) if fresh else None
        for pod in leftovers:
            owner = owner_of(pod)
            if owner and owner[1] != uid and "deletionTimestamp" not in pod["metadata"]:
                logger.info("pod %s: deleting it, its run is gone", pod["metadata"]["name"])
                await self.actor.delete_pod(*key_of(pod), uid_of(pod))
        if run is None and not leftovers:
            for session in self.observer.caches.of(Kind.SESSION):
                active = session.get("status", {}).get("activeRun")
                if active and (session["metadata"]["namespace"], active["name"]) == key:
                    await self.actor.free_session(session)

    async def _refresh(self, key: Key, run: Object | None) -> None:
        """Look up what a decision was refused for."""
        fresh = await self.observer.fetch(Kind.RUN, key)
        if found := fresh or run:
            spec = found["spec"].get("session") or {}
            await self.observer.fetch(Kind.SESSION, (key[0], spec.get("name") or key[1]))
