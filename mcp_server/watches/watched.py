"""The watches of this process: runs are recorded in the store, other kinds are cached."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

from agentrun.api.quarantine import Quarantine, named
from agentrun.api.v1alpha1 import AgentProfile, AgentSession
from agentrun.kube.api import KubeApi, Object
from agentrun.kube.cache import ObjectCache
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.list_watch import PAUSES, follow, is_closed
from agentrun.kube.resources import PROFILES, SESSIONS, Resource
from agentrun.store.base import RunStore
from agentrun.store.paging import Place
from mcp_server.schemas.agent_views import place_of_session
from mcp_server.watches.ordered import Ordered
from mcp_server.watches.run_sync import RunSync

_SEEN_SECONDS = 1.0
"""How long to wait for the watch event of an object that another replica may have returned."""

M = TypeVar("M", AgentProfile, AgentSession)


class Informer(Generic[M]):
    """
    A cache of the objects of one kind in some namespaces, kept current by a watch.

    Lookups send no requests to the API server. Objects that this process creates are in the cache
    immediately; those that another process creates, once their watch event arrives.

    With ``place_of``, the objects are also indexed by their places, in order.
    """

    def __init__(
        self,
        kube: KubeApi,
        resource: Resource,
        model: type[M],
        namespaces: Sequence[str],
        quarantine: Quarantine,
        *,
        pauses: Sequence[float] = PAUSES,
        place_of: Callable[[M], Place] | None = None,
    ) -> None:
        self._kube = kube
        self._resource = resource
        self._pauses = pauses
        self._place_of: Callable[[M], Place] | None = place_of
        self._cache: ObjectCache[M] = ObjectCache(
            resource,
            model.model_validate,
            quarantine,
            indexes={"uid": lambda obj: obj.metadata.uid},
            on_change=self._reorder,
        )
        self._orders: dict[str, Ordered[str, Place]] = {}
        """Names ordered by place, by namespace; empty without ``place_of``."""
        self._listed: set[str] = set()
        self._problems: dict[str, Exception | None] = dict.fromkeys(namespaces)
        self._changed = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether the objects of every namespace that is not closed are cached."""
        return all(
            namespace in self._listed or is_closed(problem)
            for namespace, problem in self._problems.items()
        )

    async def run(self) -> None:
        """List and watch all namespaces until cancelled."""
        await follow(self._kube, self._resource, list(self._problems), self, pauses=self._pauses)

    def all(self, namespace: str) -> list[M]:
        """Return the objects of a namespace. Raises ApiError if they are not cached."""
        self._check_listed(namespace)
        return self._cache.in_namespace(namespace)

    def named(self, namespace: str, name: str) -> M | None:
        """
        Return the object of that name, or None.

        Raises ApiError if the objects of the namespace are not cached.
        """
        self._check_listed(namespace)
        return self._cache.get((namespace, name))

    def last(self, namespace: str, limit: int, before: Place | None = None) -> list[M]:
        """
        Return the ``limit`` objects of a namespace with the greatest places less than ``before``.

        The cost does not depend on the number of other objects. Raises ApiError if the objects of
        the namespace are not cached.
        """
        self._check_listed(namespace)
        order = self._orders.get(namespace)
        names = order.last(limit, before) if order else ()
        return [obj for name in names if (obj := self._cache.get((namespace, name)))]

    async def of_uid(self, namespace: str, uid: str) -> M | None:
        """
        Return the object of that uid, or None.

        Raises ApiError if the objects of the namespace are not cached.
        """
        # Another replica may have returned the uid before the watch event arrives here.
        wait = _SEEN_SECONDS if _is_uuid(uid) else 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while (found := self._known_by_uid(namespace, uid)) is None:
                    await self._changed.wait()
                return found
        return self._known_by_uid(namespace, uid)

    def put(self, namespace: str, created: Object) -> None:
        """Add an object that was just created, before its watch event arrives."""
        self._cache.put(namespace, created)

    def remove(self, deleted: M) -> None:
        """Remove an object that was deleted."""
        meta = deleted.metadata
        self._cache.remove(meta.namespace, meta.name, meta.uid)

    async def listed(self, namespace: str, items: list[Object], version: int) -> None:
        """Replace the cached objects with the listed ones; keep those newer than the list."""
        await self._cache.replace(namespace, items, version)
        self._listed.add(namespace)
        self._problems[namespace] = None
        self._notify()

    async def changed(self, namespace: str, manifest: Object, is_deleted: bool) -> None:
        """Store the observed state of an object, or remove it."""
        if is_deleted:
            self._cache.remove(namespace, *named(manifest))
        else:
            self._cache.put(namespace, manifest)

    async def failed(self, namespace: str, error: Exception) -> None:
        """Record the failure; the cached objects stay, except those of a closed namespace."""
        self._problems[namespace] = error
        if is_closed(error):
            self._listed.discard(namespace)

    def _check_listed(self, namespace: str) -> None:
        if namespace in self._listed:
            return
        problem = self._problems.get(namespace)
        if isinstance(problem, ApiError):
            raise problem
        raise ApiUnavailableError(
            f"the {self._resource.plural} of namespace {namespace} have not been listed yet"
        )

    def _known_by_uid(self, namespace: str, uid: str) -> M | None:
        self._check_listed(namespace)
        found = self._cache.by_index("uid", uid)
        return next((one for one in found if one.metadata.namespace == namespace), None)

    def _reorder(self, obj: M) -> None:
        """Update the order of the names, and wake those who wait for an object."""
        namespace, name = obj.metadata.namespace, obj.metadata.name
        if self._place_of is not None:
            order = self._orders.setdefault(namespace, Ordered())
            if self._cache.get((namespace, name)) is None:
                order.drop(name)
            else:
                order.put(name, self._place_of(obj))
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


class Watched:
    """Watches the runs, sessions and profiles of some namespaces."""

    def __init__(
        self,
        kube: KubeApi,
        store: RunStore,
        namespaces: Sequence[str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        quarantine = Quarantine()
        self.run_sync = RunSync(
            kube, store, namespaces, now=now, pauses=pauses, quarantine=quarantine
        )
        self.sessions = Informer(
            kube,
            SESSIONS,
            AgentSession,
            namespaces,
            quarantine,
            pauses=pauses,
            place_of=place_of_session,
        )
        self.profiles = Informer(
            kube, PROFILES, AgentProfile, namespaces, quarantine, pauses=pauses
        )

    @property
    def is_ready(self) -> bool:
        """Whether all kinds have been listed in all namespaces that are not closed."""
        return self.run_sync.is_ready and self.sessions.is_ready and self.profiles.is_ready

    async def run(self) -> None:
        """Run all watches until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for followed in (self.run_sync, self.sessions, self.profiles):
                tasks.create_task(followed.run())
