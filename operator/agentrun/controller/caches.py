"""
The operator's caches of the cluster.

They are updated from watches, relists and the responses to the operator's own writes.
"""

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any

from agentrun.api.pod_layout import LABEL_RUN
from agentrun.api.quarantine import Quarantine
from agentrun.kube.api import Object
from agentrun.kube.cache import Cache
from agentrun.kube.resources import PODS, PROFILES, RUNS, SESSIONS, Resource

Key = tuple[str, str]
"""Namespace and name."""

CACHED = (RUNS, SESSIONS, PROFILES, PODS)
"""The kinds that are watched."""


def key_of(obj: Object) -> Key:
    """Return an object's namespace and name."""
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def uid_of(obj: Object) -> str:
    """Return an object's uid."""
    return str(obj["metadata"]["uid"])


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


_INDEXES: Mapping[Resource, Mapping[str, Callable[[Object], Hashable | None]]] = {
    PODS: {"run": run_of_pod},
    RUNS: {"session": session_of, "parent": parent_of},
}


class Caches:
    """The caches of all kinds, with indexes by run, session and parent."""

    def __init__(
        self,
        on_change: Callable[["Caches", Resource, Object], None] = lambda caches, kind, obj: None,
    ) -> None:
        """``on_change`` is called with every object that was added, changed or removed."""
        self.quarantine = Quarantine()
        """The objects that cannot be read as they are stored."""
        self._by_kind: dict[Resource, Cache[Object]] = {
            kind: Cache(
                kind,
                lambda obj: obj,
                self.quarantine,
                indexes=_INDEXES.get(kind),
                on_change=partial(on_change, self, kind),
            )
            for kind in CACHED
        }

    def of(self, kind: Resource) -> Cache[Object]:
        """Return the cache of a kind."""
        return self._by_kind[kind]

    def pods_of(self, run: Key) -> list[Object]:
        """Return the pods that have the label of a run."""
        return self.of(PODS).by_index("run", run)

    def runs_of(self, session: Key) -> list[Object]:
        """Return the runs of a session, in creation order."""
        return sorted(self.of(RUNS).by_index("session", session), key=_creation_order)

    def children_of(self, run: Key) -> list[Object]:
        """Return the runs that name a run as their parent, in creation order."""
        return sorted(self.of(RUNS).by_index("parent", run), key=_creation_order)
