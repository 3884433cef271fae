"""
Comparing the caches with the API server.

Once when the operator starts, before it decides anything, and then from time to time: a watch
can die without saying so, and what was deleted while a watch was away is never told.

A namespace may be closed to the operator: it was deleted, and the operator's rights in it with
it. That stops nothing elsewhere, and the namespace is taken up again when it is open.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from agentrun.api.base import GROUP
from agentrun.api.pod_layout import LABEL_RUN
from agentrun.controller.caches import Caches, Key, key_of
from agentrun.controller.kube import ApiError, Kind, KubeApi
from agentrun.controller.triggers import is_finished

logger = logging.getLogger(__name__)

WATCHED = (Kind.PROFILE, Kind.SESSION, Kind.RUN, Kind.POD)
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
_FORBIDDEN, _UNKNOWN = 403, 404


@dataclass
class Sync:
    """Keeps the caches honest."""

    kube: KubeApi
    caches: Caches
    namespaces: tuple[str, ...]
    add: Callable[[Key], None]
    clock: Callable[[], float]
    last_relist: float = field(default=0.0)
    """When a relist last began or ended: while this advances, the operator is not wedged."""
    not_ready_reason: str = "the operator has not looked at the cluster yet"
    """What keeps the operator from working, if anything does."""
    forbidden_namespaces: set[str] = field(default_factory=set)
    """The namespaces in which the operator has no rights just now."""

    async def relist(self) -> None:
        """Compare everything, and give every run that is not finished a turn."""
        for namespace in self.namespaces:
            await self._compare(namespace)

    async def start(self) -> None:
        """Fill the caches, however long the API server, or the kinds, take to be there."""
        pause = _FIRST_PAUSE
        while True:
            self.last_relist = self.clock()
            try:
                await self.relist()
                self.not_ready_reason = ""
                return
            except ApiError as error:
                self.not_ready_reason = _not_ready_reason(error)
                logger.warning("waiting: %s", self.not_ready_reason)
            except Exception as error:
                self.not_ready_reason = f"the cluster cannot be looked at: {error!r}"
                logger.exception("waiting: %s", self.not_ready_reason)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def run_forever(self, seconds: float) -> None:
        """Compare every so many seconds."""
        while True:
            self.last_relist = self.clock()
            await asyncio.sleep(seconds)
            try:
                await self.relist()
            except ApiError as error:
                logger.warning("the caches could not be compared, next time: %s", error)
            except Exception:
                # Whatever it is, it must not end the operator: watches and turns go on.
                logger.exception("the caches could not be compared, next time")

    async def reopen_forever(self) -> None:
        """Look after the namespaces that are closed, more often than at the others."""
        while True:
            await asyncio.sleep(_LONGEST_PAUSE)
            for namespace in sorted(self.forbidden_namespaces):
                try:
                    await self._compare(namespace)
                except ApiError as error:
                    logger.debug("namespace %s is still closed: %s", namespace, error)
                except Exception:
                    logger.exception("namespace %s cannot be looked at, next time", namespace)

    async def _compare(self, namespace: str) -> None:
        try:
            for kind in WATCHED:
                await self._relist(kind, namespace)
        except ApiError as error:
            if error.code != _FORBIDDEN:
                raise
            self._close(namespace, error)
            return
        if namespace in self.forbidden_namespaces:
            logger.info("namespace %s is open again", namespace)
            self.forbidden_namespaces.discard(namespace)
        for run in self.caches.of(Kind.RUN):
            if key_of(run)[0] == namespace and not is_finished(run):
                self.add(key_of(run))

    def _close(self, namespace: str, error: ApiError) -> None:
        if namespace not in self.forbidden_namespaces:
            logger.warning(
                "namespace %s is closed to the operator: if it was deleted, `helm upgrade` makes"
                " it again, with the operator's rights: %s",
                namespace,
                error,
            )
        self.forbidden_namespaces.add(namespace)
        # Nobody can mend there what is set aside; what is still there is found when it is open.
        for kind in WATCHED:
            for name in self.caches.quarantine.names(kind.value.plural, namespace):
                self.caches.quarantine.release(kind.value.plural, namespace, name)

    async def _relist(self, kind: Kind, namespace: str) -> None:
        labels = LABEL_RUN if kind is Kind.POD else ""
        listed, version = await self.kube.list(kind, namespace, labels=labels)
        self.caches.compare(kind, namespace, listed, version)


def _not_ready_reason(error: ApiError) -> str:
    """Say what is waited for."""
    if error.code == _UNKNOWN:
        return f"the API server does not serve {GROUP}: are its CRDs installed? {error}".strip()
    return str(error)
