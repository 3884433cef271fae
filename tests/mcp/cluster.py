"""An in-memory API server that implements what the MCP server uses of the real one."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

from mcp_server.kube import RUNS, ApiError, ApiUnavailableError, Object, Resource

TERMINAL = ("Completed", "Failed", "Cancelled", "Rejected")
CREATED = "2026-11-23T12:00:00Z"

Key = tuple[str, str, str]


class FakeCluster:
    """Objects by kind, namespace and name, with a history for watches, and injected faults."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.faults: dict[tuple[str, str], list[ApiError]] = {}
        """Errors to answer with, by verb and plural; each is used once."""
        self.lost_answers: list[tuple[str, str]] = []
        """Creations, by verb and plural, that are carried out but whose response is lost."""
        self.outage: ApiError | None = None
        """The error for every request during an outage."""
        self.before_patch: Callable[[], Object] | None = None
        """Called once, between a patch's read and write."""
        self.requests: list[tuple[str, str]] = []
        self.reviews: dict[str, Object] = {}
        self.history: list[tuple[int, str, str, Object]] = []
        self.oldest = 0
        self._versions = count(101)
        self._uids = count(1)
        self._changed = asyncio.Condition()
        self.watches = 0

    # Changes that users, the operator and the kubelet make.

    def add(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Add an object, as another client does."""
        stored = copy.deepcopy(body)
        meta = stored.setdefault("metadata", {})
        meta |= {
            "namespace": namespace,
            "uid": f"uid-{next(self._uids)}",
            "resourceVersion": str(next(self._versions)),
            "creationTimestamp": CREATED,
        }
        self.objects[resource.plural, namespace, meta["name"]] = stored
        self._record("ADDED", resource.plural, stored)
        return copy.deepcopy(stored)

    def set_status(self, namespace: str, name: str, **status: Any) -> Object:
        """Write a run's status, as the operator does."""
        stored = self.objects[RUNS.plural, namespace, name]
        stored["status"] = {**stored.get("status", {}), **status}
        return self._modified(RUNS.plural, stored)

    def set_spec(self, namespace: str, name: str, **spec: Any) -> Object:
        """Write to a run's spec, as kubectl does."""
        stored = self.objects[RUNS.plural, namespace, name]
        stored["spec"] |= spec
        return self._modified(RUNS.plural, stored)

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object, as another client does."""
        stored = self.objects.pop((resource.plural, namespace, name))
        stored["metadata"]["resourceVersion"] = str(next(self._versions))
        self._record("DELETED", resource.plural, stored)

    def forget_history(self) -> None:
        """Compact the history, as etcd does: watches of older versions end with 410."""
        self.oldest = next(self._versions)
        self._record("COMPACTED", "", {"metadata": {"namespace": ""}})

    # Requests of the MCP server.

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Return an object."""
        self._admit("get", resource)
        return copy.deepcopy(self._existing(resource, namespace, name))

    async def list(self, resource: Resource, namespace: str) -> Object:
        """Return all objects of a namespace."""
        self._admit("list", resource)
        items = [
            copy.deepcopy(stored)
            for (plural, where, _), stored in self.objects.items()
            if (plural, where) == (resource.plural, namespace)
        ]
        return {"items": items, "metadata": {"resourceVersion": str(next(self._versions))}}

    async def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Create an object and return it."""
        self._admit("create", resource)
        name = body["metadata"]["name"]
        if (resource.plural, namespace, name) in self.objects:
            raise ApiError(409, "AlreadyExists", f'{resource.plural} "{name}" already exists')
        created = self.add(resource, namespace, body)
        if ("create", resource.plural) in self.lost_answers:
            raise ApiUnavailableError("connection reset")
        return created

    async def patch(
        self, resource: Resource, namespace: str, name: str, body: Object, **_: Any
    ) -> Object:
        """Merge a patch into a run's spec, with the validation rules of the CRD."""
        self._admit("patch", resource)
        if self.before_patch:
            happens, self.before_patch = self.before_patch, None
            happens()
        stored = self._existing(resource, namespace, name)
        if body["metadata"]["uid"] != stored["metadata"]["uid"]:
            raise ApiError(409, "Conflict", "the UID in the precondition does not match")
        version = body["metadata"].get("resourceVersion")
        if version not in (None, stored["metadata"]["resourceVersion"]):
            raise ApiError(409, "Conflict", "the object has been modified")
        spec, new = stored["spec"], body["spec"]
        if stored.get("status", {}).get("phase") in TERMINAL:
            raise ApiError(
                422, "Invalid", "the run has finished: its spec can no longer be changed"
            )
        if (
            "cancellation" in spec
            and new.get("cancellation", spec["cancellation"]) != (spec["cancellation"])
        ):
            raise ApiError(422, "Invalid", "cancellation is immutable")
        spec |= new
        noted = stored["metadata"].setdefault("annotations", {})
        noted |= body["metadata"].get("annotations", {})
        return copy.deepcopy(self._modified(resource.plural, stored))

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Delete an object with a precondition."""
        self._admit("delete", resource)
        if self._existing(resource, namespace, name)["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", "the UID in the precondition does not match")
        self.remove(resource, namespace, name)

    async def review_token(self, token: str, audience: str) -> Object:
        """Return the TokenReview status of a token."""
        self.requests.append(("review", audience))
        if self.outage:
            raise self.outage
        return copy.deepcopy(self.reviews.get(token, {"authenticated": False}))

    async def watch(
        self, resource: Resource, namespace: str, resource_version: str, seconds: int
    ) -> AsyncIterator[Object]:
        """Yield changes, until the history is compacted or an outage begins."""
        self._admit("watch", resource)
        self.watches += 1
        after = int(resource_version)
        while True:
            if self.outage:
                raise self.outage
            if after < self.oldest:
                yield {"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}
                return
            news = [entry for entry in self.history if entry[0] > after]
            for version, kind, plural, stored in news:
                after = version
                if (plural, stored["metadata"]["namespace"]) == (resource.plural, namespace):
                    yield {"type": kind, "object": copy.deepcopy(stored)}
            async with self._changed:
                await self._changed.wait_for(
                    lambda after=after: (
                        self.outage is not None  # type: ignore[misc]
                        or any(entry[0] > after for entry in self.history)
                    )
                )

    async def begin_outage(self, error: ApiError) -> None:
        """Answer every request with ``error`` from now on; watches break off."""
        async with self._changed:
            self.outage = error
            self._changed.notify_all()

    def _admit(self, verb: str, resource: Resource) -> None:
        self.requests.append((verb, resource.plural))
        if self.outage:
            raise self.outage
        if faults := self.faults.get((verb, resource.plural)):
            raise faults.pop(0)

    def _existing(self, resource: Resource, namespace: str, name: str) -> Object:
        try:
            return self.objects[resource.plural, namespace, name]
        except KeyError:
            message = f'{resource.plural} "{name}" not found'
            raise ApiError(404, "NotFound", message) from None

    def _modified(self, plural: str, stored: Object) -> Object:
        stored["metadata"]["resourceVersion"] = str(next(self._versions))
        self._record("MODIFIED", plural, stored)
        return stored

    def _record(self, kind: str, plural: str, stored: Object) -> None:
        version = int(stored["metadata"].get("resourceVersion", self.oldest))
        self.history.append((version, kind, plural, copy.deepcopy(stored)))
        asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def profile(name: str = "codex", backend: str = "codex", **spec: Any) -> Object:
    """Build an AgentProfile."""
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentProfile",
        "metadata": {"name": name},
        "spec": {"backend": backend, "image": "agents:1", **spec},
    }


def run(name: str = "run-1", status: Object | None = None, **spec: Any) -> Object:
    """Build an AgentRun, as kubectl would create it."""
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name},
        "spec": {"backend": "codex", "prompt": "Work.", **spec},
        **({"status": status} if status else {}),
    }


def session(name: str, backend: str = "codex", **status: Any) -> Object:
    """Build an AgentSession."""
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentSession",
        "metadata": {"name": name},
        "spec": {"backend": backend},
        "status": status,
    }


def pod(name: str, owner_uid: str) -> Object:
    """Build the pod of a run."""
    return {"metadata": {"name": name, "ownerReferences": [{"uid": owner_uid}]}}
