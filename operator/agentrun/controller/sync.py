"""
Comparing the caches with the API server.

Once when the operator starts, before it decides anything, and then from time to time: a watch
can die without saying so, and what was deleted while a watch was away is never told.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from agentrun.api.pod_layout import LABEL_RUN
from agentrun.controller.caches import Caches, Key, key_of
from agentrun.controller.kube import ApiError, Kind, KubeApi
from agentrun.controller.triggers import is_over

logger = logging.getLogger(__name__)

WATCHED = (Kind.PROFILE, Kind.SESSION, Kind.RUN, Kind.POD)
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0


@dataclass
class Sync:
    """Keeps the caches honest."""

    kube: KubeApi
    caches: Caches
    namespaces: tuple[str, ...]
    add: Callable[[Key], None]
    clock: Callable[[], float]
    beat: float = field(default=0.0)
    """When a relist last began or ended: while this advances, the operator is not wedged."""

    async def relist(self) -> None:
        """Compare everything, and give every run that is not finished a turn."""
        for namespace in self.namespaces:
            for kind in WATCHED:
                await self._relist(kind, namespace)
        for run in self.caches.of(Kind.RUN):
            if not is_over(run):
                self.add(key_of(run))

    async def start(self) -> None:
        """Fill the caches, however long the API server takes to be there."""
        pause = _FIRST_PAUSE
        while True:
            self.beat = self.clock()
            try:
                await self.relist()
                return
            except ApiError as error:
                logger.warning("waiting for the API server: %s", error)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def run_forever(self, seconds: float) -> None:
        """Compare every so many seconds."""
        while True:
            self.beat = self.clock()
            await asyncio.sleep(seconds)
            try:
                await self.relist()
            except ApiError as error:
                logger.warning("the caches could not be compared, next time: %s", error)

    async def _relist(self, kind: Kind, namespace: str) -> None:
        labels = LABEL_RUN if kind is Kind.POD else ""
        listed, version = await self.kube.list(kind, namespace, labels=labels)
        for obj in listed:
            self.caches.put(kind, obj)
        for obj in self.caches.of(kind).missing_from(namespace, listed, version):
            self.caches.remove(kind, obj)
