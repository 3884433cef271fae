"""
The operator's caches of the cluster.

They are updated from watches, relists and the responses to the operator's own writes. An older
resourceVersion never replaces a newer one, and an object that was observed to be deleted is not
added again.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from agentrun.api.pod_layout import LABEL_RUN
from agentrun.api.quarantine import Quarantine, named
from agentrun.kube.api import Object
from agentrun.kube.resources import PODS, PROFILES, RUNS, SESSIONS, Resource

Key = tuple[str, str]
"""Namespace and name."""

CACHED = (RUNS, SESSIONS, PROFILES, PODS)
"""The kinds that are watched."""
_TOMBSTONES = 10_000


def key_of(obj: Object) -> Key:
    """Return an object's namespace and name."""
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def uid_of(obj: Object) -> str:
    """Return an object's uid."""
    return str(obj["metadata"]["uid"])


def version_of(obj: Object) -> int:
    """Return an object's resourceVersion as a number; 0 if it has none."""
    version = obj["metadata"].get("resourceVersion", "0")
    return int(version) if version.isdecimal() else 0


def _creation_order(obj: Object) -> tuple[str, str]:
    """
    Return a sort key by creation time.

    Creation timestamps have whole seconds. Within one second, the names decide: most begin with
    the time.
    """
    return obj["metadata"].get("creationTimestamp") or "", obj["metadata"]["name"]


def owner_of(pod: Object) -> tuple[str, str] | None:
    """Return the name and uid of the AgentRun that controls a pod; None if there is none."""
    for owner in pod["metadata"].get("ownerReferences", []):
        if owner.get("controller") and owner.get("kind") == "AgentRun":
            return owner["name"], owner["uid"]
    return None


class Cache:
    """A cache of the objects of one kind, by namespace and name."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def get(self, key: Key) -> Object | None:
        """Return the newest version observed; None if there is none."""
        return self._objects.get(key)

    def put(self, obj: Object) -> bool:
        """Store an object. Return False if it is not newer, or known to be deleted."""
        key, last = key_of(obj), self._objects.get(key_of(obj))
        if uid_of(obj) in self._gone or (last and version_of(obj) <= version_of(last)):
            return False
        obj["metadata"].pop("managedFields", None)
        self._objects[key] = obj
        return True

    def remove(self, obj: Object) -> bool:
        """Record that an object was deleted. Return False if it was not cached."""
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
        """Return the cached objects of a namespace that a list of that version shows as deleted."""
        uids = {named(obj)[1] for obj in listed}
        newest = int(version) if version.isdecimal() else 0
        return [
            obj
            for obj in self
            if key_of(obj)[0] == namespace and uid_of(obj) not in uids and version_of(obj) <= newest
        ]


class Caches:
    """The caches of all kinds, with indexes by run, session and parent."""

    def __init__(self) -> None:
        self.on_change: Callable[[Resource, Object], None] = lambda kind, obj: None
        """Called with every object that was added, changed or deleted, whatever the source."""
        self.quarantine = Quarantine()
        """The objects that cannot be read as they are stored."""
        self._by_kind = {kind: Cache() for kind in CACHED}
        self._pods: dict[Key, dict[str, Object]] = {}
        self._sessions: dict[Key, set[Key]] = {}
        self._children: dict[Key, set[Key]] = {}

    def of(self, kind: Resource) -> Cache:
        """Return the cache of a kind."""
        return self._by_kind[kind]

    def observe_event(
        self, kind: Resource, namespace: str, obj: Any, *, is_gone: bool = False
    ) -> None:
        """Process an object of a watch or list; quarantine it if it is invalid for its kind."""
        try:
            if is_gone:
                self.remove(kind, obj)
            else:
                self.put(kind, obj)
        except Exception as error:  # noqa: BLE001 - one object's trouble must not stop the others
            if is_gone:
                self.quarantine.release(kind.plural, namespace, named(obj)[0])
            else:
                why = f"it does not match its schema: {error!r}"
                self.quarantine.add(kind.plural, namespace, obj, why)

    def compare(self, kind: Resource, namespace: str, listed: list[Any], version: str) -> None:
        """Process a full list: cached or quarantined objects that it does not contain are gone."""
        for obj in listed:
            self.observe_event(kind, namespace, obj)
        for obj in self.of(kind).missing_from(namespace, listed, version):
            self.observe_event(kind, namespace, obj, is_gone=True)
        there = {named(obj)[0] for obj in listed}
        for name in self.quarantine.names(kind.plural, namespace) - there:
            if self.of(kind).get((namespace, name)) is None:
                self.quarantine.release(kind.plural, namespace, name)

    def put(self, kind: Resource, obj: Object) -> bool:
        """Store an object and update the indexes. Return False if nothing changed."""
        if not self._by_kind[kind].put(obj):
            return False
        self.quarantine.see(kind.plural, key_of(obj)[0], obj)
        if kind is PODS and (run := run_of_pod(obj)):
            self._pods.setdefault(run, {})[obj["metadata"]["name"]] = obj
        if kind is RUNS:
            self._sessions.setdefault(session_of(obj), set()).add(key_of(obj))
            if parent := parent_of(obj):
                self._children.setdefault(parent, set()).add(key_of(obj))
        self.on_change(kind, obj)
        return True

    def remove(self, kind: Resource, obj: Object) -> bool:
        """Record that an object was deleted. Return False if it was not cached."""
        if not self._by_kind[kind].remove(obj):
            return False
        self.quarantine.release(kind.plural, *key_of(obj))
        if kind is PODS and (run := run_of_pod(obj)):
            self._drop(self._pods, run, obj["metadata"]["name"])
        if kind is RUNS:
            self._forget(self._sessions, session_of(obj), key_of(obj))
            if parent := parent_of(obj):
                self._forget(self._children, parent, key_of(obj))
        self.on_change(kind, obj)
        return True

    def pods_of(self, run: Key) -> list[Object]:
        """Return the pods that have the label of a run."""
        return list(self._pods.get(run, {}).values())

    def runs_of(self, session: Key) -> list[Object]:
        """Return the runs of a session, in creation order."""
        return self._named(self._sessions.get(session, set()))

    def children_of(self, run: Key) -> list[Object]:
        """Return the runs that name a run as their parent, in creation order."""
        return self._named(self._children.get(run, set()))

    def _named(self, keys: set[Key]) -> list[Object]:
        found = (self._by_kind[RUNS].get(key) for key in keys)
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
    """Return the run that the label of a pod names; None if it has no such label."""
    name = pod["metadata"].get("labels", {}).get(LABEL_RUN)
    return (pod["metadata"]["namespace"], name) if name else None


def parent_of(run: Object) -> Key | None:
    """Return the run whose agent spawned a run; None if there is none."""
    parent = run["spec"].get("parent")
    return (key_of(run)[0], parent["name"]) if parent else None


def session_of(run: Object) -> Key:
    """Return the session of a run."""
    namespace, name = key_of(run)
    session: dict[str, Any] = run["spec"].get("session") or {}
    return namespace, session.get("name") or name
