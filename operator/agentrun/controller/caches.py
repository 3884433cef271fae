"""
The operator's caches of the cluster.

They are updated from watches, relists and the responses to the operator's own writes.
"""

from collections.abc import Callable, Hashable, Mapping
from functools import partial

from agentrun.api.pod_layout import LABEL_RUN
from agentrun.api.quarantine import Quarantine
from agentrun.kube.api import Object
from agentrun.kube.cache import ObjectCache
from agentrun.kube.objects import Key, parent_of, run_of_pod, session_of
from agentrun.kube.resources import PODS, PROFILES, RUNS, SESSIONS, Resource

CACHED = {PROFILES: "", SESSIONS: "", RUNS: "", PODS: LABEL_RUN}
"""The kinds that are listed, in this order, and watched, with their label selectors."""


def _creation_order(obj: Object) -> tuple[str, str]:
    """
    Return a sort key by creation time.

    Creation timestamps have whole seconds. Within one second, the names decide: most begin with
    the time.
    """
    return obj["metadata"].get("creationTimestamp") or "", obj["metadata"]["name"]


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
        self._by_kind: dict[Resource, ObjectCache[Object]] = {
            kind: ObjectCache(
                kind,
                lambda obj: obj,
                self.quarantine,
                indexes=_INDEXES.get(kind),
                on_change=partial(on_change, self, kind),
            )
            for kind in CACHED
        }

    def of(self, kind: Resource) -> ObjectCache[Object]:
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
