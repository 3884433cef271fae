"""
An in-memory cache of the objects of one kind in some namespaces, updated by a watch.

Lookups send no requests to the API server. Objects that this process creates are in the cache
immediately; those that another process creates, once their watch event arrives.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar
from uuid import UUID

from pydantic import ValidationError

from agentrun.api.quarantine import Quarantine, named, readable
from agentrun.api.v1alpha1.meta import ObjectMeta
from agentrun.kube.api import KubeApi, Object
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import Resource
from agentrun.store.ordered import Ordered
from agentrun.store.paging import Place
from mcp_server.list_watch import BACKOFF, follow, is_closed

_SEEN_SECONDS = 1.0
"""How long to wait for the watch event of an object that another replica may have returned."""
_AT_ONCE = 100
"""How many objects are parsed before the event loop runs other tasks."""


class Named(Protocol):
    """The model of a namespaced object."""

    @property
    def metadata(self) -> ObjectMeta:
        """The object's metadata."""

    @classmethod
    def model_validate(cls, obj: Any) -> Self:
        """Parse an object. Raises ValidationError if it cannot be read."""


M = TypeVar("M", bound=Named)


class ObjectCache(Generic[M]):
    """
    A cache of objects. Objects that cannot be read are recorded in ``quarantine`` instead.

    With ``place_of``, the objects are also indexed by their places, in order.
    """

    def __init__(
        self,
        source: KubeApi,
        resource: Resource,
        model: type[M],
        namespaces: Sequence[str],
        quarantine: Quarantine,
        *,
        backoff: Sequence[float] = BACKOFF,
        place_of: Callable[[M], Place] | None = None,
    ) -> None:
        self._source = source
        self._resource = resource
        self._model = model
        self._quarantine = quarantine
        self._backoff = backoff
        self._place_of = place_of
        self._kept: dict[str, _Kept[M]] = {}
        self._problems: dict[str, Exception | None] = dict.fromkeys(namespaces)
        self._changed = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether the objects of every namespace that is not closed are cached."""
        return all(
            namespace in self._kept or is_closed(problem)
            for namespace, problem in self._problems.items()
        )

    async def run(self) -> None:
        """List and watch all namespaces until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for namespace in self._problems:
                following = follow(self._source, self._resource, namespace, self, self._backoff)
                tasks.create_task(following, name=f"watch {self._resource.plural} of {namespace}")

    def all(self, namespace: str) -> list[M]:
        """Return the objects of a namespace. Raises ApiError if they are not cached."""
        return list(self._known(namespace).objects.values())

    def named(self, namespace: str, name: str) -> M | None:
        """
        Return the object of that name, or None.

        Raises ApiError if the objects of the namespace are not cached.
        """
        return self._known(namespace).objects.get(name)

    def last(self, namespace: str, limit: int, before: Place | None = None) -> list[M]:
        """
        Return the ``limit`` objects of a namespace with the greatest places less than ``before``.

        The cost does not depend on the number of other objects. Raises ApiError if the objects of
        the namespace are not cached.
        """
        kept = self._known(namespace)
        return [kept.objects[name] for name in kept.order.last(limit, before)]

    async def of_uid(self, namespace: str, uid: str) -> M | None:
        """
        Return the object of that uid, or None.

        Raises ApiError if the objects of the namespace are not cached.
        """
        # Another replica may have returned the uid before the watch event arrives here.
        wait = _SEEN_SECONDS if _is_uuid(uid) else 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while uid not in self._known(namespace).names:
                    await self._changed.wait()
        kept = self._known(namespace)
        return kept.objects[kept.names[uid]] if uid in kept.names else None

    def take(self, made: M) -> None:
        """Add an object that was just created, before its watch event arrives."""
        if (kept := self._kept.get(made.metadata.namespace)) is not None:
            kept.put(made)
            self._notify()

    def drop(self, deleted: M) -> None:
        """Remove an object that was deleted."""
        if (kept := self._kept.get(deleted.metadata.namespace)) is not None:
            kept.drop(deleted.metadata.name, deleted.metadata.uid)

    async def listed(self, namespace: str, items: list[Object], version: int) -> None:
        """Replace the cached objects with the listed ones; keep those newer than the list."""
        fresh = _Kept[M](self._place_of)
        for number, manifest in enumerate(items, start=1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # Lets other tasks run.
            self._read(namespace, manifest, fresh)
        there = {named(manifest)[0] for manifest in items}
        self._quarantine.keep_only(self._resource.plural, namespace, there)
        before = self._kept.get(namespace)
        for known in before.objects.values() if before else ():
            if known.metadata.version > version:
                fresh.put(known)
        self._kept[namespace] = fresh
        self._problems[namespace] = None
        self._notify()

    async def changed(self, namespace: str, manifest: Object, is_deleted: bool) -> None:
        """Store the observed state of an object, or remove it."""
        name, uid = named(manifest)
        if is_deleted:
            self._quarantine.release(self._resource.plural, namespace, name)
            self._known(namespace).drop(name, uid)
        else:
            self._read(namespace, manifest, self._known(namespace))
        self._notify()

    async def failed(self, namespace: str, error: Exception) -> None:
        """Record the failure; the cached objects stay, except those of a closed namespace."""
        self._problems[namespace] = error
        if is_closed(error):
            self._kept.pop(namespace, None)

    def _known(self, namespace: str) -> "_Kept[M]":
        if namespace in self._kept:
            return self._kept[namespace]
        problem = self._problems.get(namespace)
        if isinstance(problem, ApiError):
            raise problem
        raise ApiUnavailableError(
            f"the {self._resource.plural} of namespace {namespace} have not been listed yet"
        )

    def _read(self, namespace: str, manifest: Object, kept: "_Kept[M]") -> None:
        whole = readable(manifest)
        try:
            kept.put(self._model.model_validate(whole))
            self._quarantine.see(self._resource.plural, namespace, whole)
        except ValidationError as error:
            kept.drop(*named(manifest))
            why = f"it cannot be read: {error}"
            self._quarantine.add(self._resource.plural, namespace, manifest, why)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


@dataclass
class _Kept(Generic[M]):
    """The objects of one namespace."""

    place_of: Callable[[M], Place] | None
    objects: dict[str, M] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Names by uid."""
    order: Ordered[str, Place] = field(default_factory=Ordered)
    """Names ordered by place; empty without ``place_of``."""

    def put(self, obj: M) -> None:
        """Store an object, unless a newer version of it is stored."""
        meta = obj.metadata
        known = self.objects.get(meta.name)
        if known is not None:
            if known.metadata.version > meta.version:
                return
            self.names.pop(known.metadata.uid, None)
        self.objects[meta.name] = obj
        self.names[meta.uid] = meta.name
        if self.place_of is not None:
            self.order.put(meta.name, self.place_of(obj))

    def drop(self, name: str, uid: str) -> None:
        """Remove an object, but not another one that has taken its name."""
        known = self.objects.get(name)
        if known is not None and uid in ("", known.metadata.uid):
            del self.objects[name]
            self.names.pop(known.metadata.uid, None)
            self.order.drop(name)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
