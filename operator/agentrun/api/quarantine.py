"""
Objects that cannot be read as they are: who they are, and why.

One object's trouble is that object's trouble. What reads objects of the cluster hands on what of an
object can be read, with a mark that says why that is not all; what cannot be read at all is left
out. Either way its name and the reason are kept here until it is gone or mended, and told: in the
log, in ``/readyz`` and in ``list_runs``.
"""

import logging
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from agentrun.api.base import GROUP
from agentrun.api.bounded_json import KEPT, Bounds, mended

UNREADABLE = f"{GROUP}/unreadable"
"""The annotation that an object is handed on with; the API server never sees it."""

_REASON_CHARS = 500
# The words hold names that strangers chose, and go to logs and terminals.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_TOLD = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Quarantined:
    """An object that cannot be read as it is."""

    kind: str
    namespace: str
    name: str
    uid: str
    reason: str


class Quarantine:
    """The objects that cannot be read as they are, just now."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], Quarantined] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def of(self, kind: str, namespaces: Iterable[str]) -> list[Quarantined]:
        """Return those of a kind in some namespaces, by name."""
        wanted = set(namespaces)
        found = (one for one in self._objects.values() if one.kind == kind)
        return sorted((one for one in found if one.namespace in wanted), key=lambda one: one.name)

    def names(self, kind: str, namespace: str) -> set[str]:
        """Name those of a kind in a namespace."""
        return {one.name for one in self.of(kind, (namespace,))}

    def add(self, kind: str, namespace: str, obj: Any, reason: str) -> None:
        """Keep an object's name and the reason; the log hears of what is new."""
        name, uid = named(obj)
        plain = _CONTROL.sub(" ", reason[: 2 * _REASON_CHARS])[:_REASON_CHARS]
        self._keep(Quarantined(kind, namespace, name, uid, plain))

    def release(self, kind: str, namespace: str, name: str) -> None:
        """Take note that an object is gone, or can be read."""
        if (one := self._objects.pop((kind, namespace, name), None)) is not None:
            # One form for both lines, from which a metric can be read.
            _log.info("quarantine: %s %s/%s is left; quarantined=%d", kind, namespace, name,
                      len(self), extra={"quarantined": len(self), "uid": one.uid})  # fmt: skip

    def keep_only(self, kind: str, namespace: str, names: Collection[str]) -> None:
        """Let go of those of a kind in a namespace that are not among ``names``: they are gone."""
        for name in self.names(kind, namespace).difference(names):
            self.release(kind, namespace, name)

    def see(self, kind: str, namespace: str, obj: Any) -> None:
        """Take in or let go what was read, as its mark says."""
        if why := mark_of(obj):
            self.add(kind, namespace, obj, why)
        elif self._objects:
            self.release(kind, namespace, named(obj)[0])

    def describe(self) -> str:
        """Say in a sentence how many there are and which; nothing if there are none."""
        if not self._objects:
            return ""
        first = sorted(self._objects)[:_TOLD]
        told = ", ".join(f"{kind} {namespace}/{name}" for kind, namespace, name in first)
        more = f" and {len(self) - _TOLD} more" if len(self) > _TOLD else ""
        return f"{len(self)} objects cannot be read: {told}{more}. The log says why."

    def _keep(self, one: Quarantined) -> None:
        key = one.kind, one.namespace, one.name
        if self._objects.get(key) == one:
            return
        self._objects[key] = one
        _log.warning("quarantine: %s %s/%s (uid %s) is set aside: %s; quarantined=%d",
                     *key, one.uid or "unknown", one.reason, len(self),
                     extra={"quarantined": len(self), "uid": one.uid})  # fmt: skip


def named(obj: Any) -> tuple[str, str]:
    """Return the name and the uid of what should be an object; of anything, at worst nothing."""
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    meta = meta if isinstance(meta, dict) else {}
    return str(meta.get("name") or ""), str(meta.get("uid") or "")


def readable(obj: Any, bounds: Bounds = KEPT) -> Any:
    """
    Return what of an object of the cluster can be read, with a mark if that is not all.

    An object that can be read as it is, is returned as it is; but for ``managedFields``, which are
    as deep and as large as the object, and which nobody here looks at.
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
    """Say why an object could not be read whole; nothing if it could."""
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    noted = meta.get("annotations") if isinstance(meta, dict) else None
    return str(noted.get(UNREADABLE) or "") if isinstance(noted, dict) else ""
