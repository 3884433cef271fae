"""
What the operator last saw of the cluster.

Watches, relists and the answers to the operator's own writes all end up here; an older version
never replaces a newer one, and an object that was seen to be deleted does not come back.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from agentrun.api.pod_layout import LABEL_RUN
from agentrun.api.quarantine import Quarantine, named
from agentrun.controller.kube import Kind, Object

Key = tuple[str, str]
"""Namespace and name."""

_TOMBSTONES = 10_000


def key_of(obj: Object) -> Key:
    """Return an object's namespace and name."""
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def uid_of(obj: Object) -> str:
    """Return an object's uid."""
    return str(obj["metadata"]["uid"])


def version_of(obj: Object) -> int:
    """Return an object's resource version, as a number that grows."""
    version = obj["metadata"].get("resourceVersion", "0")
    return int(version) if version.isdecimal() else 0


def _creation_order(obj: Object) -> tuple[str, str]:
    """
    Order objects as they were made.

    The API server's clock counts seconds. Within one, the names decide: most begin with the time.
    """
    return obj["metadata"].get("creationTimestamp") or "", obj["metadata"]["name"]


def owner_of(pod: Object) -> tuple[str, str] | None:
    """Return the name and uid of the AgentRun that a pod belongs to; None if it is no run's."""
    for owner in pod["metadata"].get("ownerReferences", []):
        if owner.get("controller") and owner.get("kind") == "AgentRun":
            return owner["name"], owner["uid"]
    return None


class Cache:
    """The objects of one kind, by namespace and name."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def get(self, key: Key) -> Object | None:
        """Return the newest version seen."""
        return self._objects.get(key)

    def put(self, obj: Object) -> bool:
        """Take a version in; False if it is no news."""
        key, last = key_of(obj), self._objects.get(key_of(obj))
        if uid_of(obj) in self._gone or (last and version_of(obj) <= version_of(last)):
            return False
        obj["metadata"].pop("managedFields", None)
        self._objects[key] = obj
        return True

    def remove(self, obj: Object) -> bool:
        """Take note that an object is gone; False if that is no news."""
        uid = uid_of(obj)
        self._gone[uid] = None
        if len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)
        last = self._objects.get(key_of(obj))
        if last is None or uid_of(last) != uid:
            return False
        del self._objects[key_of(obj)]
        return True

    def missing_from(self, namespace: str, listed: Iterable[Object], version: str) -> list[Object]:
        """Say which cached objects of a namespace a list of that version shows to be gone."""
        uids = {named(obj)[1] for obj in listed}
        newest = int(version) if version.isdecimal() else 0
        return [
            obj
            for obj in self
            if key_of(obj)[0] == namespace and uid_of(obj) not in uids and version_of(obj) <= newest
        ]


class Caches:
    """The caches of all kinds, and the ways from one to another."""

    def __init__(self) -> None:
        self.on_change: Callable[[Kind, Object], None] = lambda kind, obj: None
        """Called with every object that is new, changed or gone, wherever the news is from."""
        self.quarantine = Quarantine()
        """The objects that cannot be read as they are."""
        self._by_kind = {kind: Cache() for kind in Kind}
        self._pods: dict[Key, dict[str, Object]] = {}
        self._sessions: dict[Key, set[Key]] = {}
        self._children: dict[Key, set[Key]] = {}

    def of(self, kind: Kind) -> Cache:
        """Return the cache of a kind."""
        return self._by_kind[kind]

    def observe_event(self, kind: Kind, namespace: str, obj: Any, *, is_gone: bool = False) -> None:
        """Take in what a watch or a list tells. What is no object of that kind is set aside."""
        try:
            if is_gone:
                self.remove(kind, obj)
            else:
                self.put(kind, obj)
        except Exception as error:  # noqa: BLE001 - one object's trouble must not stop the others
            if is_gone:
                self.quarantine.release(kind.value.plural, namespace, named(obj)[0])
            else:
                why = f"it is not as its kind says: {error!r}"
                self.quarantine.add(kind.value.plural, namespace, obj, why)

    def compare(self, kind: Kind, namespace: str, listed: list[Any], version: str) -> None:
        """Take in a whole list: what is cached, or set aside, and not in it, is gone."""
        for obj in listed:
            self.observe_event(kind, namespace, obj)
        for obj in self.of(kind).missing_from(namespace, listed, version):
            self.observe_event(kind, namespace, obj, is_gone=True)
        there = {named(obj)[0] for obj in listed}
        for name in self.quarantine.names(kind.value.plural, namespace) - there:
            if self.of(kind).get((namespace, name)) is None:
                self.quarantine.release(kind.value.plural, namespace, name)

    def put(self, kind: Kind, obj: Object) -> bool:
        """Take a version of an object in; False if it is no news."""
        if not self._by_kind[kind].put(obj):
            return False
        self.quarantine.see(kind.value.plural, key_of(obj)[0], obj)
        if kind is Kind.POD and (run := run_of_pod(obj)):
            self._pods.setdefault(run, {})[obj["metadata"]["name"]] = obj
        if kind is Kind.RUN:
            self._sessions.setdefault(session_of(obj), set()).add(key_of(obj))
            if parent := parent_of(obj):
                self._children.setdefault(parent, set()).add(key_of(obj))
        self.on_change(kind, obj)
        return True

    def remove(self, kind: Kind, obj: Object) -> bool:
        """Take note that an object is gone; False if that is no news."""
        if not self._by_kind[kind].remove(obj):
            return False
        self.quarantine.release(kind.value.plural, *key_of(obj))
        if kind is Kind.POD and (run := run_of_pod(obj)):
            self._drop(self._pods, run, obj["metadata"]["name"])
        if kind is Kind.RUN:
            self._forget(self._sessions, session_of(obj), key_of(obj))
            if parent := parent_of(obj):
                self._forget(self._children, parent, key_of(obj))
        self.on_change(kind, obj)
        return True

    def pods_of(self, run: Key) -> list[Object]:
        """Return the pods that carry the label of a run."""
        return list(self._pods.get(run, {}).values())

    def runs_of(self, session: Key) -> list[Object]:
        """Return the runs of a session, in the order in which they were made."""
        return self._named(self._sessions.get(session, set()))

    def children_of(self, run: Key) -> list[Object]:
        """Return the runs that name a run as their parent, in the order they were made."""
        return self._named(self._children.get(run, set()))

    def _named(self, keys: set[Key]) -> list[Object]:
        found = (self._by_kind[Kind.RUN].get(key) for key in keys)
        return sorted((run for run in found if run is not None), key=_creation_order)

    @staticmethod
    def _forget(index: dict[Key, set[Key]], key: Key, member: Key) -> None:
        index.get(key, set()).discard(member)
        if not index.get(key):
            index.pop(key, None)

    @staticmethod
    def _drop(index: dict[Key, dict[str, Object]], key: Key, name: str) -> None:
        index.get(key, {}).pop(name, None)
        if not index.get(key):
            index.pop(key, None)


def run_of_pod(pod: Object) -> Key | None:
    """Return the run whose label a pod carries."""
    name = pod["metadata"].get("labels", {}).get(LABEL_RUN)
    return (pod["metadata"]["namespace"], name) if name else None


def parent_of(run: Object) -> Key | None:
    """Return the run whose agent asked for a run."""
    parent = run["spec"].get("parent")
    return (key_of(run)[0], parent["name"]) if parent else None


def session_of(run: Object) -> Key:
    """Return the session of a run."""
    namespace, name = key_of(run)
    session: dict[str, Any] = run["spec"].get("session") or {}
    return namespace, session.get("name") or name
