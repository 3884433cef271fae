"""Lists and watches the objects of one kind in some namespaces, and relists when a watch ends."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from agentrun.backoff import Backoff
from agentrun.kube.api import KubeApi, Object
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import Resource

_log = logging.getLogger(__name__)

PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
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
    """Whether a namespace is closed to the program: deleted, with the permissions in it."""
    return isinstance(problem, ApiError) and problem.is_forbidden


async def follow(
    kube: KubeApi,
    resource: Resource,
    namespaces: Sequence[str],
    follower: Follower,
    *,
    pauses: Sequence[float] = PAUSES,
    expected: tuple[type[Exception], ...] = (ApiError,),
) -> None:
    """
    List and watch the namespaces until cancelled.

    Whenever a watch ends or fails, its namespace is relisted, which repairs missed watch events. A
    failure is an outage of that namespace only. It is logged with a traceback, unless it is one of
    the ``expected`` errors.
    """
    async with asyncio.TaskGroup() as tasks:
        for namespace in namespaces:
            following = _follow(kube, resource, namespace, follower, pauses, expected)
            tasks.create_task(following, name=f"watch {resource.plural} of {namespace}")


async def _follow(
    kube: KubeApi,
    resource: Resource,
    namespace: str,
    follower: Follower,
    pauses: Sequence[float],
    expected: tuple[type[Exception], ...],
) -> None:
    backoff = Backoff(pauses)
    while True:
        try:
            listed, version = await kube.list(resource, namespace)
            items = [_within(namespace, manifest) for manifest in listed]
            await follower.listed(namespace, items, int(version))
            backoff.reset()
            await _watch(kube, resource, namespace, version, follower)
            await asyncio.sleep(pauses[0])
        except Exception as error:  # noqa: BLE001 - nobody else would see it, and others go on
            await follower.failed(namespace, error)
            delay = backoff.next()
            is_expected = isinstance(error, expected)
            _log.log(
                logging.WARNING if is_expected else logging.ERROR,
                "%s of namespace %s cannot be watched, retry in %g s: %s",
                resource.plural,
                namespace,
                delay,
                error,
                exc_info=None if is_expected else error,
            )
            await asyncio.sleep(delay)


async def _watch(
    kube: KubeApi, resource: Resource, namespace: str, version: str, follower: Follower
) -> None:
    async for event in kube.watch(resource, namespace, version, _WATCH_SECONDS):
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
