"""
An API server in memory.

It implements what AgentRun's programs use of the real one. ``tests/kube_contract.py`` is what it
promises; the real API server passes the same tests.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import count
from typing import Any

from agentrun.kube.api import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, KubeApi, Object, Patch
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import PODS, Resource

CREATED = "2026-11-23T12:00:00Z"
DELETED = "2026-11-23T12:00:30Z"
_IMMUTABLE = ("uid", "name", "namespace", "resourceVersion", "creationTimestamp")
_WITH_STATUS = ("agentruns", "agentsessions", "pods")
"""The resources whose status is a subresource."""

Key = tuple[str, str, str]
"""The plural of the resource, the namespace and the name."""


class FakeKube(KubeApi):
    """Stores objects as the API server does. Subclasses add rules and failures."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.history: list[tuple[int, str, str, Object]] = []
        """The version, type, plural and object of each watch event."""
        self.oldest = 0
        """Watches cannot begin with an older version than this."""
        self._applied: dict[tuple[str, str], Object] = {}
        """What a field manager last applied to an object, by the object's uid and the manager."""
        self._versions = count(101)
        self._uids = count(1)
        self._watching: list[asyncio.Event] = []

    # What other clients do.

    def add(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Create an object, as another client does, and return it as stored."""
        stored = copy.deepcopy(body)
        meta = stored.setdefault("metadata", {})
        meta["namespace"] = namespace
        meta.setdefault("creationTimestamp", CREATED)
        meta.setdefault("uid", f"uid-{next(self._uids)}")
        return self._write("ADDED", resource.plural, stored)

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object for good, as another client does."""
        stored = self.objects.pop((resource.plural, namespace, name))
        stored["metadata"]["resourceVersion"] = str(next(self._versions))
        self._record("DELETED", resource.plural, stored)

    def forget_history(self) -> None:
        """Compact the history, as etcd does: watches of older versions end with an error."""
        self.oldest = next(self._versions)
        self.wake()

    def admit(self, verb: str, resource: Resource, name: str) -> None:
        """Called before each request. May raise the error that is its answer."""

    def validate(self, resource: Resource, old: Object, new: Object) -> None:
        """Called before each update of an object. May raise the error that is its answer."""

    def wake(self) -> None:
        """Have all watches look for what is new."""
        for waiting in self._watching:
            waiting.set()

    # ``KubeApi``

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        self.admit("get", resource, name)
        return copy.deepcopy(self._existing(resource, namespace, name))

    async def list(
        self, resource: Resource, namespace: str, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        self.admit("list", resource, "")
        found = [
            copy.deepcopy(stored)
            for (plural, where, _), stored in self.objects.items()
            if _is_in(resource, namespace, plural, where)
            and _has_labels(stored, labels)
            and _has_fields(stored, fields)
        ]
        return found, str(next(self._versions))

    async def create(
        self,
        resource: Resource,
        namespace: str,
        body: Object,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        name = body["metadata"]["name"]
        self.admit("create", resource, name)
        if (resource.plural, namespace, name) in self.objects:
            raise ApiError(409, "AlreadyExists", f'{resource.plural} "{name}" already exists')
        made = copy.deepcopy(body)
        for assigned in ("uid", "creationTimestamp", "resourceVersion"):
            made["metadata"].pop(assigned, None)
        if resource.plural in _WITH_STATUS:
            made.pop("status", None)
        return self.add(resource, namespace, made)

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Patch,
        *,
        subresource: str = "",
        content_type: str = MERGE_PATCH,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        self.admit("patch", resource, name)
        old = self._existing(resource, namespace, name)
        if not isinstance(body, dict):
            assert (subresource, content_type) == ("", JSON_PATCH)
            new = _merge(_operate(old, body), {"metadata": _assigned(old)})
        elif content_type == APPLY_PATCH:
            assert subresource, "the programs apply nothing else"
            return self._apply(resource, old, body, subresource, (query or {})["fieldManager"])
        else:
            _check_preconditions(resource, old, body)
            new = _merge(old, copy.deepcopy(_change(resource, body, subresource)))
        if new == old:
            return copy.deepcopy(old)
        return self._update(resource, old, new)

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str
    ) -> Object | None:
        self.admit("delete", resource, name)
        stored = self.objects.get((resource.plural, namespace, name))
        if stored is None or stored["metadata"]["uid"] != uid:
            return None
        if resource is PODS:
            # Its node confirms its end.
            meta = {"deletionTimestamp": DELETED, **stored["metadata"]}
            return self._write("MODIFIED", PODS.plural, {**stored, "kind": "Pod", "metadata": meta})
        self.remove(resource, namespace, name)
        return copy.deepcopy(stored)

    async def watch(
        self, resource: Resource, namespace: str, resource_version: str, seconds: int
    ) -> AsyncIterator[Object]:
        after, wake = int(resource_version), asyncio.Event()
        self._watching.append(wake)
        try:
            while True:
                wake.clear()
                self.admit("watch", resource, "")
                if after < self.oldest:
                    yield {"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}
                    return
                for version, kind, plural, stored in [
                    entry for entry in self.history if entry[0] > after
                ]:
                    after = version
                    if _is_in(resource, namespace, plural, stored["metadata"]["namespace"]):
                        yield {"type": kind, "object": copy.deepcopy(stored)}
                await wake.wait()
        finally:
            self._watching.remove(wake)

    async def review_token(self, token: str, audience: str) -> Object:
        return {"authenticated": False}

    def _existing(self, resource: Resource, namespace: str, name: str) -> Object:
        try:
            return self.objects[resource.plural, namespace, name]
        except KeyError:
            message = f'{resource.plural} "{name}" not found'
            raise ApiError(404, "NotFound", message) from None

    def _apply(
        self, resource: Resource, old: Object, body: Object, subresource: str, manager: str
    ) -> Object:
        """Apply a subresource by force, whichever manager had the fields before."""
        _check_preconditions(resource, old, body)
        key = old["metadata"]["uid"], manager
        before, now = self._applied.get(key), {subresource: copy.deepcopy(body[subresource])}
        new = {**old, **_applied(old, before or {}, now)}
        if (new, now) == (old, before):
            return copy.deepcopy(old)
        written = self._update(resource, old, new)
        self._applied[key] = now
        return written

    def _update(self, resource: Resource, old: Object, new: Object) -> Object:
        self.validate(resource, old, new)
        return self._write("MODIFIED", resource.plural, copy.deepcopy(new))

    def _write(self, kind: str, plural: str, stored: Object) -> Object:
        meta = stored["metadata"]
        meta["resourceVersion"] = str(next(self._versions))
        self.objects[plural, meta["namespace"], meta["name"]] = stored
        self._record(kind, plural, stored)
        return copy.deepcopy(stored)

    def _record(self, kind: str, plural: str, stored: Object) -> None:
        version = int(stored["metadata"]["resourceVersion"])
        self.history.append((version, kind, plural, copy.deepcopy(stored)))
        self.wake()


def _is_in(resource: Resource, namespace: str, plural: str, where: str) -> bool:
    return plural == resource.plural and (where == namespace or not resource.is_namespaced)


def _change(resource: Resource, body: Object, subresource: str) -> Object:
    """Return the part of a merge patch that the API server regards."""
    if subresource:
        return {subresource: body.get(subresource, {})}
    change = {key: value for key, value in body.items() if key not in ("kind", "apiVersion")}
    if resource.plural in _WITH_STATUS:
        change.pop("status", None)
    meta = body.get("metadata", {})
    change["metadata"] = {key: value for key, value in meta.items() if key not in _IMMUTABLE}
    return change


def _assigned(stored: Object) -> Object:
    """Return the metadata that only the API server assigns."""
    return {key: value for key, value in stored["metadata"].items() if key in _IMMUTABLE}


def _check_preconditions(resource: Resource, stored: Object, body: Object) -> None:
    meta, name = body.get("metadata", {}), stored["metadata"]["name"]
    if meta.get("resourceVersion") not in (None, stored["metadata"]["resourceVersion"]):
        message = f'{resource.plural} "{name}": the object has been modified'
        raise ApiError(409, "Conflict", message)
    # The API server compares the result of a patch with the stored object.
    if meta.get("uid") not in (None, stored["metadata"]["uid"]):
        message = f'{resource.plural} "{name}" is invalid: metadata.uid: field is immutable'
        raise ApiError(422, "Invalid", message)


def _has_labels(obj: Object, selector: str) -> bool:
    labels = obj["metadata"].get("labels", {})
    return all(_selects(labels.get, one) for one in selector.split(",") if one)


def _has_fields(obj: Object, selector: str) -> bool:
    def field(path: str) -> Any:
        found: Any = obj
        for part in path.split("."):
            found = found.get(part, "") if isinstance(found, dict) else ""
        return found

    return all(_selects(field, one) for one in selector.split(",") if one)


def _selects(value: Callable[[str], Any], requirement: str) -> bool:
    name, is_equality, wanted = requirement.partition("=")
    return value(name) == wanted if is_equality else value(name) is not None


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


def _operate(stored: Object, operations: Sequence[Object]) -> Object:
    """Carry out a JSON patch (RFC 6902) that only sets fields of objects."""
    patched = copy.deepcopy(stored)
    for operation in operations:
        assert operation["op"] == "add"
        *parents, last = operation["path"].removeprefix("/").split("/")
        target = patched
        for parent in parents:
            target = target[parent]
        target[last] = copy.deepcopy(operation["value"])
    return patched


def _applied(stored: Any, before: Any, now: Any) -> Any:
    """
    Apply ``now``: of ``before``, which the same manager applied, only what it repeats stays.

    Lists are replaced, as the API server does with those that have no list type.
    """
    if not isinstance(now, dict):
        return now
    fields = dict(stored) if isinstance(stored, dict) else {}
    earlier = before if isinstance(before, dict) else {}
    for omitted in earlier.keys() - now.keys():
        fields.pop(omitted, None)
    return fields | {
        key: _applied(fields.get(key), earlier.get(key), value) for key, value in now.items()
    }
