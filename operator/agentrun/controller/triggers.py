"""Maps changes of objects to the runs to reconcile, whatever the change."""

from collections.abc import Iterator

from agentrun.api.v1alpha1 import TERMINAL_PHASES, default_profile
from agentrun.controller.caches import Caches, Key, key_of, parent_of, run_of_pod, session_of
from agentrun.kube.api import Object
from agentrun.kube.resources import PODS, PROFILES, RUNS, SESSIONS, Resource


def affected_runs(caches: Caches, kind: Resource, obj: Object) -> Iterator[Key]:
    """Yield the runs to reconcile because ``obj`` has changed."""
    if kind is RUNS:
        yield key_of(obj)
        is_gone = caches.of(RUNS).get(key_of(obj)) is None
        if is_gone or is_finished(obj):
            yield from _waiting(caches, session_of(obj))
            if parent := parent_of(obj):
                yield parent
        yield from (key_of(child) for child in caches.children_of(key_of(obj)))
    elif kind is PODS:
        if run := run_of_pod(obj):
            yield run
            if caches.of(RUNS).get(run) is None:
                yield from _waiting_for(caches, run)
    elif kind is SESSIONS:
        yield from _waiting(caches, key_of(obj))
        if active := obj.get("status", {}).get("activeRun"):
            yield key_of(obj)[0], active["name"]
    elif kind is PROFILES:
        yield from (key_of(run) for run in caches.of(RUNS) if _uses(run, obj))


def is_finished(run: Object) -> bool:
    """Whether a run has finished."""
    return run.get("status", {}).get("phase") in TERMINAL_PHASES


def _waiting(caches: Caches, session: Key) -> Iterator[Key]:
    return (key_of(run) for run in caches.runs_of(session) if not is_finished(run))


def _waiting_for(caches: Caches, run: Key) -> Iterator[Key]:
    """Yield the runs that wait for a session held by a run that is gone."""
    for session in caches.of(SESSIONS):
        active = session.get("status", {}).get("activeRun") or {}
        if (key_of(session)[0], active.get("name")) == run:
            yield from _waiting(caches, key_of(session))


def _uses(run: Object, profile: Object) -> bool:
    namespace, name = key_of(profile)
    spec = run["spec"]
    wanted = spec.get("profile") or default_profile(spec["backend"])
    return key_of(run)[0] == namespace and wanted == name and not is_finished(run)
