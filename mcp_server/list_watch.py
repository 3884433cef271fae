"""Following the objects of one kind in a namespace: a list, then a watch, then a list again."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from agentrun.store.base import StoreError
from mcp_server.kube import ApiError, Object, Resource

_log = logging.getLogger(__name__)

BACKOFF = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds until the next try, after each failure in a row."""
_WATCH_SECONDS = 240


class Source(Protocol):
    """What following asks of the API server."""

    async def list(self, resource: Resource, namespace: str) -> Object:
        """Return all objects of a namespace."""

    def watch(
        self, resource: Resource, namespace: str, resource_version: str, seconds: int
    ) -> AsyncIterator[Object]:
        """Yield what changes after ``resource_version``."""


class Follower(Protocol):
    """Whoever keeps what is listed and watched."""

    async def listed(self, namespace: str, items: list[Object], version: int) -> None:
        """
        Take in everything that is there as of a resource version.

        What is known and not among it has been deleted, unless it is younger.
        """

    async def changed(self, namespace: str, manifest: Object, is_deleted: bool) -> None:
        """Take in one object that is new, has changed, or was deleted."""

    async def failed(self, namespace: str, error: Exception) -> None:
        """Take note that the namespace cannot be followed just now."""


async def follow(
    source: Source,
    resource: Resource,
    namespace: str,
    follower: Follower,
    backoff: Sequence[float] = BACKOFF,
) -> None:
    """
    Follow a namespace until cancelled.

    Whenever a watch ends or breaks, everything is listed again, so an event that was missed is
    harmless. Whatever goes wrong is an outage of this namespace, and of no other.
    """
    failures = 0
    while True:
        try:
            listed = await source.list(resource, namespace)
            items = [_within(namespace, manifest) for manifest in listed["items"]]
            version = str(listed["metadata"]["resourceVersion"])
            await follower.listed(namespace, items, int(version))
            failures = 0
            await _watch(source, resource, namespace, version, follower)
            await asyncio.sleep(backoff[0])
        except Exception as error:  # noqa: BLE001 - nobody else would see it, and others go on
            await follower.failed(namespace, error)
            delay = backoff[min(failures, len(backoff) - 1)]
            failures += 1
            is_known = isinstance(error, ApiError | StoreError)
            _log.log(
                logging.WARNING if is_known else logging.ERROR,
                "%s of namespace %s cannot be followed, next try in %g s: %s",
                resource.plural,
                namespace,
                delay,
                error,
                exc_info=None if is_known else error,
            )
            await asyncio.sleep(delay)


async def _watch(
    source: Source, resource: Resource, namespace: str, version: str, follower: Follower
) -> None:
    async for event in source.watch(resource, namespace, version, _WATCH_SECONDS):
        kind, manifest = event["type"], event["object"]
        if kind == "ERROR":
            # 410: the version is too old. A new list puts everything right.
            _log.debug("the watch of namespace %s ended: %s", namespace, manifest)
            return
        if kind != "BOOKMARK":
            await follower.changed(namespace, _within(namespace, manifest), kind == "DELETED")


def _within(namespace: str, manifest: Object) -> Object:
    """Return what stands in the list or the watch of a namespace, which it need not name itself."""
    if not isinstance(manifest, dict):
        return manifest
    meta = manifest.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    if meta.get("namespace"):
        return manifest
    return {**manifest, "metadata": {**meta, "namespace": namespace}}
