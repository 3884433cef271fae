"""An API server in memory: resourceVersions, uids, preconditions, graceful deletion of pods."""

import copy
from collections.abc import Callable
from typing import Any

from agentrun.api.v1alpha1 import TERMINAL_PHASES
from agentrun.controller.kube import ApiError, Kind, Object

_GRACE = "2026-11-23T12:00:30Z"


class FakeApi:
    """Stores objects as the API server does, and fails as tests configure."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, str, str], Object] = {}
        self.calls: list[tuple[str, Kind, str]] = []
        self.before: Callable[[str, Kind, str], None] = lambda verb, kind, name: None
        """Called before every request; may raise an error for the response."""
        self._version = 100

    def put(self, kind: Kind, obj: Object) -> Object:
        """Store an object, as another client does."""
        stored = copy.deepcopy(obj)
        meta = stored["metadata"]
        meta.setdefault("namespace", "ns")
        meta.setdefault("uid", f"uid-of-{kind.value.plural}-{meta['name']}-{self._version}")
        return self._store(kind, stored)

    def find(self, kind: Kind, name: str, namespace: str = "ns") -> Object | None:
        """Return an object, or None if it does not exist."""
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    def drop(self, kind: Kind, name: str, namespace: str = "ns") -> None:
        """Remove an object for good, as the kubelet does with a pod that has ended."""
        del self.objects[kind, namespace, name]

    def verbs(self, kind: Kind) -> list[str]:
        """List the verbs of the requests for one kind, in order, without reads."""
        reading = ("get", "list")
        return [verb for verb, what, _ in self.calls if what is kind and verb not in reading]

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        self._ask("get", kind, name)
        return self.find(kind, name, namespace)

    async def list(
        self, kind: Kind, namespace: str, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        self._ask("list", kind, "")
        found = [
            copy.deepcopy(obj)
            for (what, where, _), obj in self.objects.items()
            if what is kind and where == namespace and _has_label(obj, labels)
        ]
        return found, str(self._version)

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        name = body["metadata"]["name"]
        self._ask("create", kind, name)
        if (kind, namespace, name) in self.objects:
            raise ApiError(409, f"{name} already exists")
        return self.put(kind, body)

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: Object, subresource: str = ""
    ) -> Object:
        self._ask("patch", kind, name)
        stored = self.find(kind, name, namespace)
        if stored is None:
            raise ApiError(404, f"{name} not found")
        for field, value in body.get("metadata", {}).items():
            if stored["metadata"].get(field) != value:
                raise ApiError(409, f"{field} of {name} is {stored['metadata'].get(field)}")
        patch = {key: value for key, value in body.items() if key != "metadata"}
        if subresource:
            patch = {subresource: patch.get(subresource, {})}
        merged = _merge(stored, patch)
        if kind is Kind.RUN:
            _check_run(stored, merged)
        return self._store(kind, merged)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> Object | None:
        self._ask("delete", kind, name)
        stored = self.find(kind, name, namespace)
        if stored is None or stored["metadata"]["uid"] != uid:
            return None
        if kind is Kind.POD:
            stored["metadata"].setdefault("deletionTimestamp", _GRACE)
            return self._store(kind, {**stored, "kind": "Pod"})
        self.drop(kind, name, namespace)
        return stored

    def _ask(self, verb: str, kind: Kind, name: str) -> None:
        self.calls.append((verb, kind, name))
        self.before(verb, kind, name)

    def _store(self, kind: Kind, obj: Object) -> Object:
        meta = obj["metadata"]
        last = self.objects.get((kind, meta["namespace"], meta["name"]))
        meta["resourceVersion"] = last["metadata"]["resourceVersion"] if last else ""
        if obj != last:
            self._version += 1
            meta["resourceVersion"] = str(self._version)
        self.objects[kind, meta["namespace"], meta["name"]] = obj
        return copy.deepcopy(obj)


def _has_label(obj: Object, label: str) -> bool:
    return not label or label in obj["metadata"].get("labels", {})


def _merge(target: Any, patch: Any) -> Any:
    """Merge as in RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _check_run(old: Object, new: Object) -> None:
    """Refuse what the CRD's validation rules refuse."""
    before, after = (obj.get("status", {}).get("phase") for obj in (old, new))
    if before in TERMINAL_PHASES and after != before:
        raise ApiError(422, "the phase of a finished run is final")
    if new["spec"].get("desiredState") == "Cancelled" and after == "Completed" != before:
        raise ApiError(422, "a run whose cancellation was requested cannot become Completed")
