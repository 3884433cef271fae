"""
A cache of the objects of one kind, updated from lists, watches and the responses to own writes.

These may arrive in any order: an older resourceVersion never replaces a newer one, and an object
that was observed to be deleted is not added again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from agentrun.api.quarantine import Quarantine, named, readable
from agentrun.kube.api import Object
from agentrun.kube.objects import Key
from agentrun.kube.resources import Resource

T = TypeVar("T")

_TOMBSTONES = 10_000
"""How many uids of deleted objects are remembered."""
_AT_ONCE = 100
"""How many objects of a list are read before the event loop runs other tasks."""


def version_number(text: Any) -> int:
    """Return a resourceVersion as a number, by which versions compare; 0 if it is none."""
    return int(text) if isinstance(text, str) and text.isdecimal() else 0


@dataclass(frozen=True)
class _Entry(Generic[T]):
    """The newest version of an object."""

    obj: T | None
    """None if this version cannot be read."""
    uid: str
    version: int
    index_values: Mapping[str, Hashable | None]


class ObjectCache(Generic[T]):
    """
    The objects of one kind, by namespace and name.

    ``read`` makes of a manifest what is cached. Each of ``indexes`` returns the value under which
    an object is found with ``by_index``, or None. An object for which one of them fails is recorded
    in ``quarantine`` instead of being cached. ``on_change`` is called with every object that was
    added, changed or removed, after the cache was updated.
    """

    def __init__(
        self,
        kind: Resource,
        read: Callable[[Object], T],
        quarantine: Quarantine,
        *,
        indexes: Mapping[str, Callable[[T], Hashable | None]] | None = None,
        on_change: Callable[[T], None] = lambda obj: None,
    ) -> None:
        self._kind = kind
        self._read = read
        self._quarantine = quarantine
        self._index_functions = indexes or {}
        self._on_change = on_change
        self._entries: dict[str, dict[str, _Entry[T]]] = {}
        self._indexes: dict[tuple[str, Hashable], dict[Key, None]] = {}
        self._deleted: OrderedDict[str, None] = OrderedDict()

    def __iter__(self) -> Iterator[T]:
        return iter([obj for namespace in self._entries for obj in self.in_namespace(namespace)])

    def get(self, key: Key) -> T | None:
        """Return the newest version observed; None if there is none."""
        entry = self._entry(*key)
        return entry.obj if entry else None

    def in_namespace(self, namespace: str) -> list[T]:
        """Return the objects of a namespace."""
        entries = self._entries.get(namespace, {}).values()
        return [entry.obj for entry in entries if entry.obj is not None]

    def by_index(self, index: str, value: Hashable) -> list[T]:
        """Return the objects for which the index function returned ``value``."""
        found = (self.get(key) for key in self._indexes.get((index, value), {}))
        return [obj for obj in found if obj is not None]

    def put(self, namespace: str, obj: Any) -> bool:
        """
        Store an object of a watch, a list or a response. Return whether it was stored.

        It is not if it is known to be deleted or not newer than what is stored. If it cannot be
        read, it is quarantined, and the version before it is removed.
        """
        try:
            return self._store(namespace, obj)
        except Exception as error:  # noqa: BLE001 - one object's trouble must not stop the others
            self._set_aside(namespace, obj, error)
            return False

    def remove(self, namespace: str, name: str, uid: str) -> bool:
        """
        Record that an object was deleted. Return False if it was not cached.

        An empty ``uid``, of a manifest that has none, is that of any object of this name.
        """
        self._bury(uid)
        entry = self._entry(namespace, name)
        if entry is not None and uid not in ("", entry.uid):
            return False
        self._quarantine.release(self._kind.plural, namespace, name)
        self._replace_entry((namespace, name), None)
        if entry is None or entry.obj is None:
            return False
        self._on_change(entry.obj)
        return True

    async def replace(self, namespace: str, listed: Sequence[Any], version: int) -> None:
        """
        Process the complete list of the objects of a namespace as of a resourceVersion.

        What it does not contain was deleted, cached or quarantined, unless it is newer.
        """
        for number, obj in enumerate(listed, start=1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # Lets other tasks run.
            self.put(namespace, obj)
        names, uids = {named(obj)[0] for obj in listed}, {named(obj)[1] for obj in listed}
        cached = self._entries.get(namespace, {})
        for name, entry in list(cached.items()):
            if entry.uid not in uids and entry.version <= version:
                self.remove(namespace, name, entry.uid)
        self._quarantine.keep_only(self._kind.plural, namespace, names.union(cached))

    def _entry(self, namespace: str, name: str) -> _Entry[T] | None:
        return self._entries.get(namespace, {}).get(name)

    def _store(self, namespace: str, obj: Any) -> bool:
        meta = obj["metadata"]
        name, uid, version = meta["name"], meta["uid"], version_number(meta.get("resourceVersion"))
        last = self._entry(namespace, name)
        if uid in self._deleted or (last is not None and version <= last.version):
            return False
        whole = readable(obj)
        new = self._read(whole)
        values = {index: value_of(new) for index, value_of in self._index_functions.items()}
        hash(tuple(values.values()))  # Raises if a value cannot be indexed.
        if last is not None and last.uid != uid:
            self._bury(last.uid)
        self._replace_entry((namespace, name), _Entry(new, uid, version, values))
        self._quarantine.see(self._kind.plural, namespace, whole)
        self._on_change(new)
        return True

    def _set_aside(self, namespace: str, obj: Any, error: Exception) -> None:
        name, uid = named(obj)
        version, last = _version_of(obj), self._entry(namespace, name)
        why = f"it does not match its schema: {error!r}"
        if isinstance(error, ValidationError):
            why = f"it cannot be read: {error}"
        self._quarantine.add(self._kind.plural, namespace, obj, why)
        if last is not None and last.version == version:
            return  # It is stored: only ``on_change`` failed.
        self._replace_entry((namespace, name), _Entry(None, uid, version, {}))
        if last is not None and last.obj is not None:
            self._on_change(last.obj)

    def _replace_entry(self, key: Key, new: _Entry[T] | None) -> None:
        """Store or remove an entry, and update the indexes."""
        namespace, name = key
        entries = self._entries.setdefault(namespace, {})
        old = entries.pop(name, None) if new is None else entries.get(name)
        if new is not None:
            entries[name] = new
        for index in self._index_functions:
            before = old.index_values.get(index) if old else None
            after = new.index_values.get(index) if new else None
            if before == after:
                continue
            if before is not None:
                members = self._indexes[index, before]
                del members[key]
                if not members:
                    del self._indexes[index, before]
            if after is not None:
                self._indexes.setdefault((index, after), {})[key] = None

    def _bury(self, uid: str) -> None:
        """Remember a uid as that of a deleted object."""
        if uid:
            self._deleted[uid] = None
        if len(self._deleted) > _TOMBSTONES:
            self._deleted.popitem(last=False)


def _version_of(obj: Any) -> int:
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    return version_number(meta.get("resourceVersion")) if isinstance(meta, dict) else 0
