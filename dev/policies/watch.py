"""All objects of one kind in the cluster, kept current by a watch."""

import asyncio
from collections.abc import Sequence

from agentrun.kube.api import KubeApi, Object
from agentrun.kube.list_watch import PAUSES, follow
from agentrun.kube.resources import Resource


class Watched:
    """A cache of the objects of one kind in all namespaces."""

    def __init__(self, kube: KubeApi, resource: Resource, is_changed: asyncio.Event) -> None:
        self._kube = kube
        self._resource = resource.in_all_namespaces
        self._is_changed = is_changed
        """Set after every change."""
        self._objects: dict[str, Object] = {}
        self.is_listed = asyncio.Event()
        """Set once the first list is complete."""

    def objects(self) -> list[Object]:
        """Return the objects in the order of namespace and name."""
        return sorted(
            self._objects.values(),
            key=lambda o: (o["metadata"]["namespace"], o["metadata"]["name"]),
        )

    async def follow(self, pauses: Sequence[float] = PAUSES) -> None:
        """List and watch until cancelled."""
        await follow(self._kube, self._resource, ("",), self, pauses=pauses)

    async def listed(self, namespace: str, items: list[Object], version: int) -> None:
        """Replace the objects with the complete list."""
        self._objects = {item["metadata"]["uid"]: item for item in items}
        self.is_listed.set()
        self._is_changed.set()

    async def changed(self, namespace: str, manifest: Object, is_deleted: bool) -> None:
        """Store or remove an object."""
        uid = manifest["metadata"]["uid"]
        if is_deleted:
            self._objects.pop(uid, None)
        else:
            self._objects[uid] = manifest
        self._is_changed.set()

    async def failed(self, namespace: str, error: Exception) -> None:
        """Keep the objects: the rules stay as they are until the next list."""
