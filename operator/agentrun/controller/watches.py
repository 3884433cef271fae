"""
The watches, which kopf runs, and the runs to reconcile because of a change.

Handlers only update the caches: kopf swallows their errors and runs them concurrently, so nothing
is decided in them. Each change of a cache leads to the affected runs, whatever the change.
"""

import logging
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import kopf
from kopf._cogs.clients import api

from agentrun.api.quarantine import named
from agentrun.controller.caches import CACHED, Caches
from agentrun.kube.api import Object
from agentrun.kube.client import read_answer
from agentrun.kube.objects import (
    Key,
    holder_of,
    is_finished,
    key_of,
    parent_of,
    profile_of,
    run_of_pod,
    session_of,
)
from agentrun.kube.resources import PODS, PROFILES, RUNS, SESSIONS, Resource

# kopf logs every attempt of every watch request, and has no setting for it.
_ATTEMPT = re.compile(r"Request attempt #(\d+) failed")


def build_registry(caches: Caches) -> kopf.OperatorRegistry:
    """Register a watch for each kind. Successive kopf operators can share the registry."""
    registry = kopf.get_default_registry()
    for kind in CACHED:
        handler = feed_into(caches, kind)
        kopf.on.event(*_selector(kind), id=kind.plural, registry=registry)(handler)
    return registry


def _selector(kind: Resource) -> tuple[str, str, str]:
    """Return the group, the version and the plural of a kind; the core group is empty."""
    *_, group, version = kind.api.split("/")
    return "" if group == "api" else group, version, kind.plural


def feed_into(caches: Caches, kind: Resource) -> Callable[..., None]:
    """Return the handler that stores the watch events of one kind in the caches."""

    async def feed(event: kopf.RawEvent, **_: Any) -> None:
        obj: Object = dict(event["object"])
        meta = obj["metadata"] = dict(obj["metadata"])
        namespace = str(meta.get("namespace", ""))
        if event["type"] == "DELETED":
            caches.of(kind).remove(namespace, *named(obj))
        else:
            caches.of(kind).put(namespace, obj)

    return feed  # type: ignore[return-value]


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
        if holder := holder_of(obj):
            yield key_of(obj)[0], holder[0]
    elif kind is PROFILES:
        yield from (key_of(run) for run in caches.of(RUNS) if _uses(run, key_of(obj)))


def _waiting(caches: Caches, session: Key) -> Iterator[Key]:
    return (key_of(run) for run in caches.runs_of(session) if not is_finished(run))


def _waiting_for(caches: Caches, run: Key) -> Iterator[Key]:
    """Yield the runs that wait for a session held by a run that is gone."""
    for session in caches.of(SESSIONS):
        holder = holder_of(session)
        if holder is not None and (key_of(session)[0], holder[0]) == run:
            yield from _waiting(caches, key_of(session))


def _uses(run: Object, profile: Key) -> bool:
    return profile_of(run) == profile and not is_finished(run)


class Pauses:
    """
    The backoff between attempts to reach the API server, in seconds; an infinite sequence.

    With a finite one, kopf would terminate the operator when the API server stays unreachable.
    """

    def __iter__(self) -> Iterator[float]:
        yield from (0.1, 0.2, 0.5, 1.0, 2.0)
        while True:
            yield 3.0


def build_settings() -> kopf.OperatorSettings:
    """Return kopf settings with which it only watches."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # Neither namespaces nor CRDs are watched: the operator has no cluster-wide permissions.
    settings.scanning.disabled = True
    for kind, labels in CACHED.items():
        if labels:
            settings.watching.label_selectors[_selector(kind)] = labels
    settings.watching.server_timeout = 600
    settings.watching.reconnect_backoff = 0.1
    settings.networking.error_backoffs = Pauses()
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 60
    settings.process.ultimate_exiting_timeout = 20
    return settings


def is_worth_logging(record: logging.LogRecord) -> bool:
    """Whether a log record is anything but a repeated attempt of a kopf request."""
    tried = _ATTEMPT.match(record.getMessage())
    return tried is None or tried[1] == "1"


def read_within_bounds() -> None:
    """
    Make kopf parse responses with ``read_answer``, for the lifetime of the process. Idempotent.

    kopf's own parsing ends all watches, of all namespaces, when one object is nested deeper than
    the standard parser supports. kopf has no setting for it, so two names of one of its modules are
    replaced: ``get``, which lists, and ``json``, with which ``stream`` parses the lines of a watch.
    A test lists and watches through kopf, so that a change in kopf is detected.
    """
    for name, ours in (("get", _get), ("json", SimpleNamespace(loads=_loads))):
        setattr(api, name, ours)


async def _get(url: str, **options: Any) -> Any:
    response = await api.request(method="get", url=url, **options)
    async with response:
        return read_answer(await response.read())


def _loads(line: str) -> Any:
    return read_answer(line.encode())
