"""
A client of the API server for the tests: one connection pool and one set of watches.

Waits for objects use the watch of their kind and cost nothing while they wait. Polling with kubectl
takes 45 ms of CPU for each start, which a machine with two cores cannot spare. kubectl is only for
the tests that are about kubectl.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from agentrun.kube import client
from agentrun.kube.api import APPLY_PATCH, Object
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.list_watch import follow
from agentrun.kube.resources import Resource
from tests.waiting import LATE_SECONDS

Json = Object
Key = tuple[str, str]
"""Namespace and name; the namespace is empty for cluster-scoped objects."""

_RETRY_SECONDS = 0.2
_CONNECT_SECONDS = 30.0
"""On a busy machine a TLS handshake takes long."""
_AWAY_SECONDS = 60.0
"""How long a read is retried while the API server is unavailable, as happens on a busy machine."""
T = TypeVar("T")
_APPLIED = ("name", "namespace", "labels", "annotations", "ownerReferences", "finalizers")
"""The metadata fields that server-side apply sets."""
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def version_of(obj: Json) -> int:
    """Return an object's resourceVersion as a number, which grows."""
    return int(obj["metadata"]["resourceVersion"])


@dataclass
class _Subscriber:
    """Receives the changes of one object."""

    key: Key
    _news: "asyncio.Queue[tuple[int, Json | None] | Exception]" = field(
        default_factory=asyncio.Queue
    )

    async def next(self) -> tuple[int, Json | None]:
        """
        Wait for a version and return its number and the object, or None if it was deleted.

        Raises the watch's error if there are no more versions.
        """
        news = await self._news.get()
        if isinstance(news, Exception):
            raise news
        return news

    def tell(self, news: tuple[int, Json | None] | Exception) -> None:
        """Deliver a version, or the error that ends the watch."""
        self._news.put_nowait(news)


class _Watch:
    """All objects of one kind, kept current by a watch."""

    def __init__(self, kube: client.Kube, resource: Resource) -> None:
        self._known: dict[Key, Json] = {}
        self._subscribers: list[_Subscriber] = []
        self._listed = asyncio.Event()
        # A relist is not delayed for long: nothing signals when the server is back.
        following = follow(kube, resource.in_all_namespaces, ("",), self, pauses=(_RETRY_SECONDS,))
        self._task = asyncio.create_task(following)

    async def close(self) -> None:
        """Stop the watch."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    @asynccontextmanager
    async def subscribed(self, key: Key) -> AsyncIterator[_Subscriber]:
        """Yield a subscriber that receives every change of an object from now on."""
        await self._listed.wait()
        subscriber = _Subscriber(key)
        self._subscribers.append(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.remove(subscriber)

    async def listed(self, namespace: str, items: list[Json], version: int) -> None:
        """Tell the subscribers what the list has, and what it no longer has."""
        found = {_key(item): item for item in items}
        for key in self._known.keys() - found.keys():
            self._tell(key, version, None)
        self._known = found
        for key, item in found.items():
            self._tell(key, version_of(item), item)
        self._listed.set()

    async def changed(self, namespace: str, manifest: Json, is_deleted: bool) -> None:
        """Tell the subscribers of an object."""
        key = _key(manifest)
        self._known[key] = manifest
        if is_deleted:
            del self._known[key]
        self._tell(key, version_of(manifest), None if is_deleted else manifest)

    async def failed(self, namespace: str, error: Exception) -> None:
        """Pass on an error that is not the API server's: it would never end."""
        if not isinstance(error, ApiError):
            for subscriber in self._subscribers:
                subscriber.tell(error)

    def _tell(self, key: Key, version: int, item: Json | None) -> None:
        for subscriber in self._subscribers:
            if subscriber.key == key:
                subscriber.tell((version, item))


class Kube:
    """The API server of the tests' cluster, for the event loop that all tests share."""

    def __init__(self, kube: client.Kube) -> None:
        self.client = kube
        """For requests that need a path, a stream or another content type."""
        self._resources: dict[str, Resource] = {}
        self._watches: dict[Resource, _Watch] = {}

    async def close(self) -> None:
        """Stop the watches."""
        for watch in self._watches.values():
            await watch.close()

    async def resource(self, kind: str) -> Resource:
        """Find a kind by any name that kubectl accepts."""
        if kind.lower() not in self._resources:
            # Discovered again: CustomResourceDefinitions are added while tests run.
            self._resources = dict(await self._discover())
        return self._resources[kind.lower()]

    async def get(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """Return an object in its current state, or None if it does not exist."""
        resource = await self.resource(kind)
        return await _retried(lambda: self.client.find(resource, namespace, name))

    async def items(
        self, kind: str, namespace: str = "", labels: str = "", fields: str = ""
    ) -> list[Json]:
        """Return the selected objects in their current state."""
        resource = await self.resource(kind)
        return (await self._listed(resource, namespace, labels, fields))[0]

    async def create(self, body: Json, path: str = "", dry_run: bool = False) -> Json:
        """Create an object, at ``path`` if that is not the path of its kind."""
        if path:
            where = path
        else:
            resource = await self.resource(_kind_of(body))
            where = resource.path(body["metadata"].get("namespace", ""))
        query = {"dryRun": "All"} if dry_run else {}
        return await self.client.request("POST", where, query, body)

    async def apply(self, *objects: Json) -> None:
        """Create or change objects with server-side apply."""
        await asyncio.gather(*(self._apply(one) for one in objects))

    async def merge(
        self, kind: str, name: str, namespace: str, body: Json, subresource: str = ""
    ) -> Json:
        """Merge ``body`` into an object, or into its subresource."""
        resource = await self.resource(kind)
        return await self.client.patch(resource, namespace, name, body, subresource=subresource)

    async def delete(
        self, kind: str, name: str, namespace: str = "", grace_seconds: int | None = None
    ) -> None:
        """Delete an object without waiting for its end. A missing object is no error."""
        path = (await self.resource(kind)).path(namespace, name)
        query = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            query["gracePeriodSeconds"] = str(grace_seconds)
        try:
            await self.client.request("DELETE", path, query)
        except ApiError as error:
            if not error.is_not_found:
                raise

    async def until(
        self,
        kind: str,
        name: str,
        is_so: Callable[[Json | None], bool],
        namespace: str = "",
        seconds: float = LATE_SECONDS,
    ) -> Json | None:
        """
        Wait until ``is_so`` holds for an object, and return it.

        ``is_so`` gets None while the object does not exist. It is called with the current state and
        then with every later version: none is skipped, and no earlier one is seen.
        """
        resource = await self.resource(kind)
        watch = self._watches.get(resource) or _Watch(self.client, resource)
        self._watches[resource] = watch

        async def now() -> tuple[Json | None, int]:
            found, at = await self._listed(resource, namespace, "", f"metadata.name={name}")
            return (found[0] if found else None), at

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), watch.subscribed((namespace, name)) as subscriber:
                seen, version = await now()
                while not is_so(seen):
                    newer, item = await subscriber.next()
                    if newer > version:
                        version, seen = newer, item
                return seen
        # The event loop may have been blocked while the last events came.
        seen, _ = await now()
        if not is_so(seen):
            raise AssertionError(f"{kind} {namespace}/{name}: not so after {seconds} s: {seen}")
        return seen

    async def _listed(
        self, resource: Resource, namespace: str, labels: str, fields: str
    ) -> tuple[list[Json], int]:
        within = resource if namespace else resource.in_all_namespaces
        items, version = await _retried(
            lambda: self.client.list(within, namespace, labels=labels, fields=fields)
        )
        return items, int(version)

    async def _apply(self, obj: Json) -> None:
        resource = await self.resource(_kind_of(obj))
        metadata = obj["metadata"]
        kept = {name: metadata[name] for name in _APPLIED if name in metadata}
        await self.client.patch(
            resource,
            metadata.get("namespace", ""),
            metadata["name"],
            {**obj, "metadata": kept},
            content_type=APPLY_PATCH,
            query={"fieldManager": "agentrun-tests", "force": "true"},
        )

    async def _discover(self) -> Iterable[tuple[str, Resource]]:
        found: list[tuple[str, Resource]] = []
        # The core group comes first, and its names take precedence.
        for root in ("/apis", "/api"):
            groups = await self.client.request("GET", root, accept=_DISCOVERY)
            for group in reversed(groups["items"]):
                name = group["metadata"].get("name", "")
                for version in reversed(group["versions"]):
                    prefix = f"/apis/{name}" if name else "/api"
                    for one in version.get("resources", []):
                        resource = Resource(
                            f"{prefix}/{version['version']}", one["resource"],
                            one["scope"] == "Namespaced",
                        )  # fmt: skip
                        names = [
                            one["resource"], one.get("singularResource", ""),
                            one["responseKind"]["kind"].lower(), *one.get("shortNames", []),
                        ]  # fmt: skip
                        found += [(name.lower(), resource) for name in names if name]
        return found


@asynccontextmanager
async def connected() -> AsyncIterator[Kube]:
    """Connect to the API server that KUBECONFIG names."""
    async with client.connect(connect_seconds=_CONNECT_SECONDS) as connection:
        kube = Kube(connection)
        try:
            yield kube
        finally:
            await kube.close()


async def _retried(read: Callable[[], Awaitable[T]]) -> T:
    """Read, with retries for a minute while the API server is unavailable."""
    end = asyncio.get_running_loop().time() + _AWAY_SECONDS
    while True:
        try:
            return await read()
        except ApiUnavailableError:
            if asyncio.get_running_loop().time() > end:
                raise
        await asyncio.sleep(_RETRY_SECONDS)  # Nothing signals when the API server is back.


def _key(item: Json) -> Key:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _kind_of(obj: Json) -> str:
    return str(obj["kind"]).lower()
