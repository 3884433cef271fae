"""The API server in memory, with the rules of AgentRun's CRDs, TokenReviews and failures."""

import copy
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from agentrun.api.pod_layout import LABEL_RUN_UID
from agentrun.kube.api import Object
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import RUNS, Resource
from tests.fake_kube import FakeKube

TERMINAL = ("Completed", "Failed", "Cancelled", "Rejected")


class FakeCluster(FakeKube):
    """Fails as tests configure."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[tuple[str, str], list[ApiError]] = {}
        """Errors to answer with, by verb and plural; each is used once."""
        self.lost_answers: list[tuple[str, str]] = []
        """Creations, by verb and plural, that are carried out but whose response is lost."""
        self.outage: ApiError | None = None
        """The error for every request during an outage."""
        self.before_patch: Callable[[], Object] | None = None
        """Called once, before a patch."""
        self.requests: list[tuple[str, str]] = []
        self.reviews: dict[str, Object] = {}
        self.watches = 0

    # Changes that users, the operator and the kubelet make.

    def set_status(self, namespace: str, name: str, **status: Any) -> Object:
        """Write a run's status, as the operator does."""
        stored = self.objects[RUNS.plural, namespace, name]
        new = {**stored, "status": {**stored.get("status", {}), **status}}
        return self._write("MODIFIED", RUNS.plural, copy.deepcopy(new))

    def set_spec(self, namespace: str, name: str, **spec: Any) -> Object:
        """Write to a run's spec, as kubectl does."""
        stored = self.objects[RUNS.plural, namespace, name]
        new = {**stored, "spec": stored["spec"] | spec}
        return self._write("MODIFIED", RUNS.plural, copy.deepcopy(new))

    def begin_outage(self, error: ApiError) -> None:
        """Answer every request with ``error`` from now on; watches break off."""
        self.outage = error
        self.wake()

    # Requests of the MCP server.

    def admit(self, verb: str, resource: Resource, name: str) -> None:
        if verb != "watch":
            self.requests.append((verb, resource.plural))
        if self.outage:
            raise self.outage
        if faults := self.faults.get((verb, resource.plural)):
            raise faults.pop(0)
        if verb == "patch" and self.before_patch:
            happens, self.before_patch = self.before_patch, None
            happens()

    def validate(self, resource: Resource, old: Object, new: Object) -> None:
        """Refuse what the CRD's validation rules refuse."""
        if resource is not RUNS or old["spec"] == new["spec"]:
            return
        if old.get("status", {}).get("phase") in TERMINAL:
            raise ApiError(
                422, "Invalid", "the run has finished: its spec can no longer be changed"
            )
        cancellation = old["spec"].get("cancellation")
        if cancellation and new["spec"].get("cancellation") != cancellation:
            raise ApiError(422, "Invalid", "cancellation is immutable")

    async def create(
        self,
        resource: Resource,
        namespace: str,
        body: Object,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        created = await super().create(resource, namespace, body, query=query)
        if ("create", resource.plural) in self.lost_answers:
            raise ApiUnavailableError("connection reset")
        return created

    async def review_token(self, token: str, audience: str) -> Object:
        """Return the TokenReview status of a token."""
        self.requests.append(("review", audience))
        if self.outage:
            raise self.outage
        return copy.deepcopy(self.reviews.get(token, {"authenticated": False}))

    async def watch(
        self, resource: Resource, namespace: str, resource_version: str, seconds: int
    ) -> AsyncIterator[Object]:
        self.requests.append(("watch", resource.plural))
        self.watches += 1
        async for event in super().watch(resource, namespace, resource_version, seconds):
            yield event


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
    owner = {"kind": "AgentRun", "uid": owner_uid, "controller": True}
    return {"metadata": {"name": name, "ownerReferences": [owner]}}


def orphaned_pod(name: str, run_uid: str) -> Object:
    """Build the pod of a run that was deleted with ``--cascade=orphan``."""
    return {"metadata": {"name": name, "labels": {LABEL_RUN_UID: run_uid}}}
