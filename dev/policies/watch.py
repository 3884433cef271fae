"""All objects of one kind in the cluster, kept current by a watch."""

import asyncio

from agentrun.kube.api import KubeApi, Object
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import Resource

_PAUSE = 1.0
_WATCH_SECONDS = 300


class Watched:
    """A cache of the objects of one kind in all namespaces."""

    def __init__(self, kube: KubeApi, resource: Resource, changed: asyncio.Event) -> None:
        self._kube = kube
        self._resource = resource.in_all_namespaces
        self._changed = changed
        """Set after every change."""
        self._objects: dict[str, Object] = {}
        self.listed = asyncio.Event()
        """Set once the first list is complete."""

    def objects(self) -> list[Object]:
        """Return the objects in the order of namespace and name."""
        return sorted(
            self._objects.values(),
            key=lambda o: (o["metadata"].get("namespace", ""), o["metadata"]["name"]),
        )

    async def follow(self) -> None:
        """List and watch until the process ends. After an error, list again."""
        while True:
            try:
                await self._watch(await self._list())
            except ApiError as error:
                print(f"{self._resource.plural}: {error!r}; once more", flush=True)
                await asyncio.sleep(_PAUSE)

    async def _list(self) -> str:
        found, version = await self._kube.list(self._resource, "")
        self._objects = {item["metadata"]["uid"]: item for item in found}
        self.listed.set()
        self._changed.set()
        return version

    async def _watch(self, version: str) -> None:
        async for event in self._kube.watch(self._resource, "", version, _WATCH_SECONDS):
            if event["type"] == "ERROR":
                # The resourceVersion is too old to resume from: list again.
                return
            if event["type"] != "BOOKMARK":
                self._take(event["type"], event["object"])

    def _take(self, kind: str, obj: Object) -> None:
        if kind == "DELETED":
            self._objects.pop(obj["metadata"]["uid"], None)
        else:
            self._objects[obj["metadata"]["uid"]] = obj
        self._changed.set()
