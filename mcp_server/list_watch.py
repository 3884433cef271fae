"""Lists and watches the objects of one kind in a namespace, and relists when a watch ends."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from agentrun.kube.api import KubeApi, Object
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import Resource
from agentrun.store.base import StoreError

_log = logging.getLogger(__name__)

BACKOFF = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds until the next try, by the number of consecutive failures."""
_WATCH_SECONDS = 240


class Follower(Protocol):
    """Receives the listed and watched objects."""

    async def listed(self, namespace: str, items: list[Object], version: int) -> None:
        """
        Handle the complete list of objects as of a resourceVersion.

        Known objects that are not in it have been deleted, unless they are newer.
        """

    async def changed(self, namespace: str, manifest: Object, is_deleted: bool) -> None:
        """Handle one object that was added, modified or deleted."""

    async def failed(self, namespace: str, error: Exception) -> None:
        """Handle a failure to list or watch the namespace; it is retried."""


def is_closed(problem: Exception | None) -> bool:
    """Whether a namespace is closed to the MCP server: deleted, with the permissions in it."""
    return isinstance(problem, ApiError) and problem.is_forbidden


async def follow(
    source: KubeApi,
    resource: Resource,
    namespace: str,
    follower: Follower,
    backoff: Sequence[float] = BACKOFF,
) -> None:
    """
    List and watch a namespace until cancelled.

    Whenever a watch ends or fails, the namespace is relisted, which repairs missed watch events. A
    failure is an outage of this namespace only.
    """
    failures = 0
    while True:
        try:
            listed, version = await source.list(resource, namespace)
            items = [_within(namespace, manifest) for manifest in listed]
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
                "%s of namespace %s cannot be watched, retry in %g s: %s",
                resource.plural,
                namespace,
                delay,
                error,
                exc_info=None if is_known else error,
            )
            await asyncio.sleep(delay)


async def _watch(
    source: KubeApi, resource: Resource, namespace: str, version: str, follower: Follower
) -> None:
    async for event in source.watch(resource, namespace, version, _WATCH_SECONDS):
        kind, manifest = event["type"], event["object"]
        if kind == "ERROR":
            # 410: the resourceVersion is too old. The caller relists.
            _log.debug("the watch of namespace %s ended: %s", namespace, manifest)
            return
        if kind != "BOOKMARK":
            await follower.changed(namespace, _within(namespace, manifest), kind == "DELETED")


def _within(namespace: str, manifest: Object) -> Object:
    """Return the manifest with its namespace set: items of a list or watch may omit it."""
    if not isinstance(manifest, dict):
        return manifest
    meta = manifest.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    if meta.get("namespace"):
        return manifest
    return {**manifest, "metadata": {**meta, "namespace": namespace}}
