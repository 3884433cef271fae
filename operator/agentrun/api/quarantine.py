"""
Quarantine of objects that cannot be read as they are stored.

One invalid object must not affect others. Readers of cluster objects pass on the readable part of
an object, with an annotation that states why the rest is missing; an object that cannot be read at
all is left out. In both cases its name and the reason are recorded here until it is deleted or
fixed, and reported in the log, in ``/readyz`` and in ``list_runs``.
"""

import logging
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from agentrun.api.base import GROUP
from agentrun.api.bounded_json import KEPT, Bounds, mended

UNREADABLE = f"{GROUP}/unreadable"
"""The annotation with the reason on a partly read object; never sent to the API server."""

_REASON_CHARS = 500
# Reasons contain untrusted names, and are written to logs and terminals.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_MOST_LISTED = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Quarantined:
    """An object that cannot be read as it is stored."""

    kind: str
    namespace: str
    name: str
    uid: str
    reason: str


class Quarantine:
    """The objects that currently cannot be read as they are stored."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], Quarantined] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def of(self, kind: str, namespaces: Iterable[str]) -> list[Quarantined]:
        """Return the quarantined objects of a kind in some namespaces, sorted by name."""
        wanted = set(namespaces)
        found = (one for one in self._objects.values() if one.kind == kind)
        return sorted((one for one in found if one.namespace in wanted), key=lambda one: one.name)

    def names(self, kind: str, namespace: str) -> set[str]:
        """Return the names of the quarantined objects of a kind in a namespace."""
        return {one.name for one in self.of(kind, (namespace,))}

    def add(self, kind: str, namespace: str, obj: Any, reason: str) -> None:
        """Record an object and the reason; new entries are logged."""
        name, uid = named(obj)
        plain = _CONTROL.sub(" ", reason[: 2 * _REASON_CHARS])[:_REASON_CHARS]
        self._keep(Quarantined(kind, namespace, name, uid, plain))

    def release(self, kind: str, namespace: str, name: str) -> None:
        """Remove an object that is gone, or can be read; the removal is logged."""
        if (one := self._objects.pop((kind, namespace, name), None)) is not None:
            # Both log lines have the same form, from which a metric can be derived.
            _log.info("quarantine: %s %s/%s is released; quarantined=%d", kind, namespace, name,
                      len(self), extra={"quarantined": len(self), "uid": one.uid})  # fmt: skip

    def keep_only(self, kind: str, namespace: str, names: Collection[str]) -> None:
        """Remove the objects of a kind in a namespace that are not in ``names``: they are gone."""
        for name in self.names(kind, namespace).difference(names):
            self.release(kind, namespace, name)

    def see(self, kind: str, namespace: str, obj: Any) -> None:
        """Add or remove an object that was read, depending on its annotation."""
        if why := mark_of(obj):
            self.add(kind, namespace, obj, why)
        elif self._objects:
            self.release(kind, namespace, named(obj)[0])

    def describe(self) -> str:
        """Return a sentence with their number and the first few; empty if there are none."""
        if not self._objects:
            return ""
        first = sorted(self._objects)[:_MOST_LISTED]
        listed = ", ".join(f"{kind} {namespace}/{name}" for kind, namespace, name in first)
        more = f" and {len(self) - _MOST_LISTED} more" if len(self) > _MOST_LISTED else ""
        return f"{len(self)} objects cannot be read: {listed}{more}. See the log for the reasons."

    def _keep(self, one: Quarantined) -> None:
        key = one.kind, one.namespace, one.name
        if self._objects.get(key) == one:
            return
        self._objects[key] = one
        _log.warning("quarantine: %s %s/%s (uid %s) is quarantined: %s; quarantined=%d",
                     *key, one.uid or "unknown", one.reason, len(self),
                     extra={"quarantined": len(self), "uid": one.uid})  # fmt: skip


def named(obj: Any) -> tuple[str, str]:
    """Return the name and the uid of a possibly invalid object; empty if it has none."""
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    meta = meta if isinstance(meta, dict) else {}
    return str(meta.get("name") or ""), str(meta.get("uid") or "")


def readable(obj: Any, bounds: Bounds = KEPT) -> Any:
    """
    Return the readable part of a cluster object, annotated if that is not all of it.

    A readable object is returned unchanged except for ``managedFields``, which are as deep and as
    large as the object, and are not used.
    """
    if isinstance(obj, dict) and isinstance(obj.get("metadata"), dict):
        obj["metadata"].pop("managedFields", None)
    whole, why = mended(obj, "The object", bounds)
    if why and isinstance(whole, dict) and isinstance(whole.get("metadata"), dict):
        meta = whole["metadata"]
        noted = meta.get("annotations")
        meta["annotations"] = {**(noted if isinstance(noted, dict) else {}), UNREADABLE: why}
    return whole


def mark_of(obj: Any) -> str:
    """Return why an object was only partly read; empty if it was read completely."""
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    noted = meta.get("annotations") if isinstance(meta, dict) else None
    return str(noted.get(UNREADABLE) or "") if isinstance(noted, dict) else ""
