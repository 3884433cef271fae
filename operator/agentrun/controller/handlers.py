"""
The watches, which kopf runs.

Handlers only update the caches: kopf swallows their errors and runs them concurrently, so nothing
is decided in them.
"""

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import kopf

from agentrun.api.base import GROUP, VERSION
from agentrun.api.pod_layout import LABEL_RUN
from agentrun.controller.caches import Caches
from agentrun.kube.api import Object
from agentrun.kube.resources import PODS, PROFILES, RUNS, SESSIONS, Resource

_WATCHED = {
    RUNS: (GROUP, VERSION, "agentruns"),
    SESSIONS: (GROUP, VERSION, "agentsessions"),
    PROFILES: (GROUP, VERSION, "agentprofiles"),
    PODS: ("", "v1", "pods"),
}
# kopf logs every attempt of every watch request, and has no setting for it.
_ATTEMPT = re.compile(r"Request attempt #(\d+) failed")


class Pauses:
    """
    The backoff between attempts to reach the API server, in seconds; an infinite sequence.

    With a finite one, kopf would terminate the operator when the API server stays unreachable.
    """

    def __iter__(self) -> Iterator[float]:
        yield from (0.1, 0.2, 0.5, 1.0, 2.0)
        while True:
            yield 3.0


def build_registry(caches: Caches) -> kopf.OperatorRegistry:
    """Register a watch for each kind. Successive kopf operators can share the registry."""
    registry = kopf.get_default_registry()
    for kind, resource in _WATCHED.items():
        handler = feed_into(caches, kind)
        kopf.on.event(*resource, id=resource[2], registry=registry)(handler)
    return registry


def is_worth_logging(record: logging.LogRecord) -> bool:
    """Whether a log record is anything but a repeated attempt of a kopf request."""
    tried = _ATTEMPT.match(record.getMessage())
    return tried is None or tried[1] == "1"


def build_settings() -> kopf.OperatorSettings:
    """Return kopf settings with which it only watches."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # Neither namespaces nor CRDs are watched: the operator has no cluster-wide permissions.
    settings.scanning.disabled = True
    settings.watching.label_selectors["", "v1", "pods"] = LABEL_RUN
    settings.watching.server_timeout = 600
    settings.watching.reconnect_backoff = 0.1
    settings.networking.error_backoffs = Pauses()
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 60
    settings.process.ultimate_exiting_timeout = 20
    return settings


def feed_into(caches: Caches, kind: Resource) -> Callable[..., None]:
    """Return the handler that stores the watch events of one kind in the caches."""

    async def feed(event: kopf.RawEvent, **_: Any) -> None:
        obj: Object = dict(event["object"])
        meta = obj["metadata"] = dict(obj["metadata"])
        is_gone = event["type"] == "DELETED"
        caches.observe_event(kind, str(meta.get("namespace", "")), obj, is_gone=is_gone)

    return feed  # type: ignore[return-value]
