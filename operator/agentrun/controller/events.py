"""
Kubernetes Events on the AgentRun, as `kubectl describe` shows them.

Events are informational; nothing depends on them. They are posted in the background, in order, and
an error that may pass is retried for a while. A status that recurs while its Event exists updates
the time of that Event.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from agentrun.api.base import API_VERSION
from agentrun.api.v1alpha1 import Phase
from agentrun.backoff import retry
from agentrun.kube.api import KubeApi, Object
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import EVENTS

logger = logging.getLogger(__name__)

_BACKLOG = 1000
_PAUSES = (0.5, 1.0, 2.0, 4.0)
# Others wait meanwhile.
_RETRY_SECONDS = 30
_MESSAGE = 1000
_TROUBLE = frozenset({Phase.FAILED, Phase.REJECTED})
_LOSSES = frozenset({"Evicted", "PodDeleted", "NodeLost"})
_CALM = frozenset({"Accepted", "PodPending", "SessionBusy"})
"""Reasons for which an agent that is not ready is no cause for a warning."""


class EventSink(Protocol):
    """Receives the status changes of runs."""

    def record(self, run: Object) -> None:
        """Report the status of ``run``."""


class EventRecorder:
    """Posts Events in the background."""

    def __init__(
        self,
        kube: KubeApi,
        source: str,
        clock: Callable[[], datetime],
        pauses: Sequence[float] = _PAUSES,
        seconds: float = _RETRY_SECONDS,
    ) -> None:
        """``pauses`` are those between the tries of an Event, for ``seconds`` at most."""
        self._kube = kube
        self._pauses = pauses
        self._seconds = seconds
        self._source = source
        self._clock = clock
        self._news: asyncio.Queue[Object] = asyncio.Queue(_BACKLOG)

    def record(self, run: Object) -> None:
        """Queue an Event with the status of ``run``; it is dropped if the queue is full."""
        try:
            self._news.put_nowait(build_event(run, self._source, self._clock()))
        except asyncio.QueueFull:
            logger.warning("run %s: too many Events, one is dropped", run["metadata"]["name"])

    async def post_forever(self) -> None:
        """Post queued Events until cancelled."""
        while True:
            await self.post_next()

    async def post_next(self) -> None:
        """Wait for the next Event and post it; errors of the API server are logged."""
        event = await self._news.get()
        try:
            await retry(
                lambda: self._post(event), self._pauses, _is_transient, seconds=self._seconds
            )
        except (ApiError, TimeoutError) as error:
            logger.warning("Event %s was not posted: %s", event["metadata"]["name"], error)

    async def _post(self, event: Object) -> None:
        namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
        try:
            await self._kube.create(EVENTS, namespace, event)
        except ApiError as error:
            if not error.already_exists:
                raise
            again = {"lastTimestamp": event["lastTimestamp"]}
            await self._kube.patch(EVENTS, namespace, name, again)


def _is_transient(error: Exception) -> bool:
    return isinstance(error, ApiError) and error.is_transient


def build_event(run: Object, source: str, now: datetime) -> Object:
    """Build the Event that reports the status of ``run``."""
    metadata, status = run["metadata"], run["status"]
    reason, message = status.get("reason", "Unknown"), status.get("message", "")[:_MESSAGE]
    identity = "/".join((metadata["uid"], status["phase"], reason, message))
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "AgentRun",
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": "Warning" if is_trouble(status) else "Normal",
        "reason": reason,
        "message": f"{status['phase']}: {message}",
        "source": {"component": source},
        "reportingComponent": source,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def is_trouble(status: Object) -> bool:
    """Whether a status requires attention, so that its Event is a warning."""
    if status["phase"] in _TROUBLE or status.get("reason") in _LOSSES:
        return True
    conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
    is_stuck_starting = (
        conditions.get("AgentReady") == "False" and status.get("reason") not in _CALM
    )
    return is_stuck_starting or conditions.get("PodTerminated") == "Unknown"
