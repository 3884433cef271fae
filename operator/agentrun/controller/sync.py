"""
Relists that reconcile the caches with the API server.

They run once when the operator starts, before it decides anything, and then periodically: a watch
can fail silently, and deletions during an interrupted watch are never delivered.

A namespace may be forbidden to the operator: it was deleted, and the operator's permissions in it
with it. Other namespaces are unaffected, and the namespace is used again once it is accessible.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from agentrun.api.base import GROUP
from agentrun.backoff import Backoff
from agentrun.controller.caches import CACHED, Caches
from agentrun.kube.api import KubeApi
from agentrun.kube.cache import version_number
from agentrun.kube.errors import ApiError
from agentrun.kube.objects import Key, is_finished, key_of
from agentrun.kube.resources import RUNS, Resource

logger = logging.getLogger(__name__)

_PAUSES = (0.5, 1.0, 2.0, 4.0, 5.0)
_FORBIDDEN_SECONDS = 5.0


@dataclass
class Sync:
    """Relists periodically to repair missed watch events."""

    kube: KubeApi
    caches: Caches
    namespaces: tuple[str, ...]
    add: Callable[[Key], None]
    clock: Callable[[], float]
    last_relist: float = field(default=0.0)
    """When ``start`` or ``run_forever`` last began a cycle; the liveness probe checks it."""
    not_ready_reason: str = "the operator has not listed its objects yet"
    """Why the operator is not ready; empty if it is."""
    forbidden_namespaces: set[str] = field(default_factory=set)
    """The namespaces in which the operator currently has no permissions."""

    def mark_not_ready(self, reason: str) -> None:
        """Report that the operator is not ready, until ``start`` has succeeded again."""
        self.not_ready_reason = reason

    async def relist(self) -> None:
        """List all kinds in all namespaces, and queue every run that has not finished."""
        for namespace in self.namespaces:
            await self._compare(namespace)

    async def start(self) -> None:
        """Fill the caches, retrying until the API server and the CRDs are available."""
        backoff = Backoff(_PAUSES)
        while True:
            self.last_relist = self.clock()
            try:
                await self.relist()
                self.not_ready_reason = ""
                return
            except ApiError as error:
                self.not_ready_reason = _not_ready_reason(error)
                logger.warning("not ready: %s", self.not_ready_reason)
            except Exception as error:
                self.not_ready_reason = f"the operator cannot list its objects: {error!r}"
                logger.exception("not ready: %s", self.not_ready_reason)
            await backoff.wait()

    async def run_forever(self, seconds: float) -> None:
        """Relist every ``seconds``."""
        while True:
            self.last_relist = self.clock()
            await asyncio.sleep(seconds)
            try:
                await self.relist()
            except ApiError as error:
                logger.warning("relisting failed, will retry: %s", error)
            except Exception:
                # No error may end the operator: watches and reconciles continue.
                logger.exception("relisting failed, will retry")

    async def reopen_forever(self) -> None:
        """Relist the forbidden namespaces, more often than the others."""
        while True:
            await asyncio.sleep(_FORBIDDEN_SECONDS)
            for namespace in sorted(self.forbidden_namespaces):
                try:
                    await self._compare(namespace)
                except ApiError as error:
                    logger.debug("namespace %s is still forbidden: %s", namespace, error)
                except Exception:
                    logger.exception("relisting namespace %s failed, will retry", namespace)

    async def _compare(self, namespace: str) -> None:
        try:
            for kind in CACHED:
                await self._relist(kind, namespace)
        except ApiError as error:
            if not error.is_forbidden:
                raise
            self._close(namespace, error)
            return
        if namespace in self.forbidden_namespaces:
            logger.info("namespace %s is accessible again", namespace)
            self.forbidden_namespaces.discard(namespace)
        for run in self.caches.of(RUNS):
            if key_of(run)[0] == namespace and not is_finished(run):
                self.add(key_of(run))

    def _close(self, namespace: str, error: ApiError) -> None:
        if namespace not in self.forbidden_namespaces:
            logger.warning(
                "namespace %s is forbidden to the operator: if it was deleted, `helm upgrade`"
                " creates it again, with the operator's permissions: %s",
                namespace,
                error,
            )
        self.forbidden_namespaces.add(namespace)
        # Quarantined objects there cannot be fixed now; remaining ones are found by a later relist.
        for kind in CACHED:
            self.caches.quarantine.keep_only(kind.plural, namespace, ())

    async def _relist(self, kind: Resource, namespace: str) -> None:
        listed, version = await self.kube.list(kind, namespace, labels=CACHED[kind])
        await self.caches.of(kind).replace(namespace, listed, version_number(version))


def _not_ready_reason(error: ApiError) -> str:
    """Return a message on why the operator is not ready."""
    if error.is_not_found:
        return f"the API server does not serve {GROUP}, check that its CRDs exist: {error}".strip()
    return str(error)
