"""The API server in memory, with the CRDs' rules and a record of the operator's requests."""

import copy
from collections.abc import Callable

from agentrun.api.v1alpha1 import TERMINAL_PHASES
from agentrun.kube.api import Object
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import RUNS, Resource
from tests.fake_kube import FakeKube


class FakeApi(FakeKube):
    """Fails as tests configure."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Resource, str]] = []
        self.before: Callable[[str, Resource, str], None] = lambda verb, kind, name: None
        """Called before every request; may raise an error for the response."""

    def put(self, kind: Resource, obj: Object) -> Object:
        """Store an object, as another client does."""
        stored = copy.deepcopy(obj)
        meta = stored["metadata"]
        meta.setdefault("namespace", "ns")
        last = self.objects.get((kind.plural, meta["namespace"], meta["name"]))
        if last is None:
            return self.add(kind, meta["namespace"], stored)
        meta.setdefault("uid", last["metadata"]["uid"])
        return self._write("MODIFIED", kind.plural, stored)

    def stored(self, kind: Resource, name: str, namespace: str = "ns") -> Object | None:
        """Return an object, or None if it does not exist."""
        return copy.deepcopy(self.objects.get((kind.plural, namespace, name)))

    def drop(self, kind: Resource, name: str, namespace: str = "ns") -> None:
        """Remove an object for good, as the kubelet does with a pod that has ended."""
        self.remove(kind, namespace, name)

    def verbs(self, kind: Resource) -> list[str]:
        """List the verbs of the requests for one kind, in order, without reads."""
        reading = ("get", "list")
        return [verb for verb, what, _ in self.calls if what is kind and verb not in reading]

    def admit(self, verb: str, resource: Resource, name: str) -> None:
        self.calls.append((verb, resource, name))
        self.before(verb, resource, name)

    def validate(self, resource: Resource, old: Object, new: Object) -> None:
        """Refuse what the CRD's validation rules refuse."""
        if resource is not RUNS:
            return
        before, after = (obj.get("status", {}).get("phase") for obj in (old, new))
        if before in TERMINAL_PHASES and after != before:
            raise ApiError(422, "Invalid", "the phase of a finished run is final")
        if new["spec"].get("desiredState") == "Cancelled" and after == "Completed" != before:
            raise ApiError(
                422, "Invalid", "a run whose cancellation was requested cannot become Completed"
            )
