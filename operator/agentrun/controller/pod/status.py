"""
What the status of a run's pod says: why it does not start, how it was disrupted, how it ended.

Some errors are in the pod's status. A missing Secret that is to be mounted, or used to pull an
image, is reported only in the kubelet's Events on the pod. If the API server rejects the pod, its
error says why.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from agentrun.api import pod_layout as layout
from agentrun.api.bounded_json import read
from agentrun.api.names import parse_pod_name
from agentrun.api.v1alpha1 import Outcome, Reason
from agentrun.controller.observed import ContainerObservation, Failure, PodObservation, WaitClass
from agentrun.kube.errors import ApiError

Manifest = Mapping[str, Any]

_HALTED = {
    "ErrImagePull": Reason.IMAGE_PULL_FAILED,
    "ImagePullBackOff": Reason.IMAGE_PULL_FAILED,
    "InvalidImageName": Reason.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": Reason.IMAGE_PULL_FAILED,
    "ImageInspectError": Reason.IMAGE_PULL_FAILED,
    "RegistryUnavailable": Reason.IMAGE_PULL_FAILED,
    "CreateContainerConfigError": Reason.SECRET_MISSING,
    "CreateContainerError": Reason.CONTAINER_START_FAILED,
    "RunContainerError": Reason.CONTAINER_START_FAILED,
    "StartError": Reason.CONTAINER_START_FAILED,
    "ContainerCannotRun": Reason.CONTAINER_START_FAILED,
}
_MISSING = re.compile(
    r'(secrets?|configmaps?) "?[^ ]+"? not found|non-existent (secret|config) key'
)
_SECRET = re.compile(r"secret|configmap|find key", re.IGNORECASE)
_EVICTIONS = frozenset(
    {"EvictionByEvictionAPI", "PreemptionByScheduler", "TerminationByKubelet", "DeletionByPodGC"}
)
_NODE_LOSSES = frozenset({"DeletionByTaintManager"})
_ENDING = "because it is being terminated"
_RANGE = re.compile(r"failed quota|(minimum|maximum) .*usage per|max limit to request")
_CLAIM = re.compile(r"persistentvolumeclaim", re.IGNORECASE)
_NO_CLAIM = re.compile(r'persistentvolumeclaim "[^"]*" not found')
# Phrases that the scheduler and the kubelet repeat or wrap their errors in.
_NOISE = re.compile(
    r"( no new claims to deallocate,?| preemption: .*$|(?<=VolumeClaims\.) not found"
    r"|rpc error: code = \w+ desc = |Back-off pulling image \"[^\"]*\": ErrImagePull: )"
)
_LONGEST = 1000
_UNREAD = "FailedToRetrieveImagePullSecret"
# The most time from the kubelet's read of the Secrets to the pull; two pulls are further apart.
_SAME_PULL = timedelta(seconds=5)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def observe_pod(pod: Manifest, events: Sequence[Manifest] = ()) -> PodObservation:
    """Derive the observed state of a pod from its manifest and its Events."""
    metadata, status = pod["metadata"], pod.get("status", {})
    parsed = parse_pod_name(metadata["name"])
    attempt = parsed[1] if parsed else 0
    containers = {
        one["name"]: _observe_container(one) for one in status.get("containerStatuses", [])
    }
    expected = [one["name"] for one in pod["spec"]["containers"]]
    are_over = [name in containers and containers[name].is_over for name in expected]
    finished = status.get("phase") in ("Succeeded", "Failed") or all(are_over)
    is_starting = not finished and not all(
        name in containers and containers[name].started for name in expected
    )
    runner = containers.get(layout.RUNNER, ContainerObservation())
    return PodObservation(
        name=metadata["name"],
        uid=metadata["uid"],
        attempt=attempt,
        created=_time(metadata.get("creationTimestamp")),
        node=pod["spec"].get("nodeName", ""),
        has_agent=layout.AGENT in expected,
        finished=finished,
        terminating_until=_time(metadata.get("deletionTimestamp")),
        failure=None if finished else start_failure(pod, events if is_starting else ()),
        disruption=disruption_of(pod, events),
        waiting_for=start_progress(events) if is_starting else "",
        agent=containers.get(layout.AGENT, ContainerObservation()),
        runner=runner,
        outcome=_parse_outcome(runner.message),
    )


def start_failure(pod: Manifest, events: Sequence[Manifest] = ()) -> Failure | None:
    """Return the failure that keeps ``pod`` from starting; None if there is none."""
    status = pod.get("status", {})
    for container in status.get("containerStatuses", []):
        state = container.get("state", {})
        halted = state.get("waiting") or state.get("terminated") or {}
        reason = _HALTED.get(halted.get("reason", ""))
        if reason:
            return _of_container(reason, container["name"], halted, events)
    for condition in status.get("conditions", []):
        is_refused = condition.get("type") == "PodScheduled" and condition.get("status") == "False"
        if is_refused and condition.get("reason") == "Unschedulable":
            return _unschedulable(condition.get("message", ""))
    last = _newest(events)
    return _node_failure(last) if last else None


def start_progress(events: Sequence[Manifest]) -> str:
    """Return the message of the newest Event on a pod that has not started; empty if none."""
    last = _newest(events)
    return shortened(str(last.get("message", ""))) if last else ""


def disruption_of(pod: Manifest, events: Sequence[Manifest] = ()) -> Failure | None:
    """Return how the cluster disrupted ``pod``; None if it did not."""
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return _disrupted(condition.get("reason", ""), condition.get("message", ""))
    if status.get("reason") == "NodeLost":
        return Failure(Reason.NODE_LOST, status.get("message") or "The node of the pod is lost.")
    # The kubelet itself sets the reason when it terminates or rejects a whole pod.
    if status.get("phase") == "Failed" and status.get("reason"):
        message = f"{status['reason']}: {status.get('message', '')}"
        return Failure(Reason.EVICTED, shortened(message))
    # The kubelet terminates the containers first. If they exit before it has written the reason,
    # the pod's status only shows that it has ended, and only the Event gives the reason.
    evicted = [one for one in events if one.get("reason") == "Evicted"]
    return Failure(Reason.EVICTED, shortened(evicted[-1].get("message", ""))) if evicted else None


def creation_failure(error: ApiError, what: str) -> Failure | None:
    """
    Classify an error on creating ``what``, a pod or a session.

    Return None if it is not created because its namespace is being deleted.
    """
    message = shortened(error.message)
    if error.is_transient:
        message = f"The API server could not create {what}: {message}"
        return Failure(Reason.FAILED_CREATE, message, WaitClass.ROOM)
    if error.is_forbidden and not error.is_denied:
        if _ENDING in error.message:
            return None  # The run is deleted with its namespace.
        if "exceeded quota" in error.message:
            return Failure(Reason.QUOTA_EXCEEDED, message, WaitClass.ROOM)
        if _RANGE.search(error.message):
            return Failure(Reason.QUOTA_EXCEEDED, message)
    return Failure(Reason.POD_REJECTED, message)


def shortened(message: str) -> str:
    """Shorten a message of Kubernetes to one line, without phrases that carry no information."""
    line = _NOISE.sub("", " ".join(message.split())).strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _observe_container(status: Manifest) -> ContainerObservation:
    state = status.get("state", {})
    ended = state.get("terminated")
    if ended is None:
        return ContainerObservation(started="running" in state)
    return ContainerObservation(
        started=True,
        exit_code=ended.get("exitCode", 0),
        ended=_time(ended.get("finishedAt")),
        reason=ended.get("reason", ""),
        message=ended.get("message", ""),
    )


def _parse_outcome(message: str) -> Outcome | None:
    """Parse the outcome in a termination message; None if it is other text."""
    try:
        return Outcome.model_validate(read(message, "The termination message"))
    except ValueError:
        return None


def _time(stamp: str | None) -> datetime | None:
    return datetime.fromisoformat(stamp) if stamp else None


def _unschedulable(message: str) -> Failure:
    text = shortened(message)
    if _CLAIM.search(message):
        # A claim that exists may still be bound to a volume.
        wait_class = WaitClass.STUCK if _NO_CLAIM.search(message) else WaitClass.ROOM
        return Failure(Reason.VOLUME_UNAVAILABLE, text, wait_class)
    return Failure(Reason.UNSCHEDULABLE, f"The pod cannot be scheduled: {text}", WaitClass.ROOM)


def _disrupted(reason: str, message: str) -> Failure:
    text = shortened(message or reason)
    if reason in _NODE_LOSSES:
        return Failure(Reason.NODE_LOST, text)
    # Unknown reasons, which later versions of Kubernetes may add, are disruptions as well.
    return Failure(Reason.EVICTED, text if reason in _EVICTIONS else f"{reason}: {text}")


def _of_container(
    reason: Reason, container: str, halted: Manifest, events: Sequence[Manifest]
) -> Failure:
    text = shortened(halted.get("message") or halted.get("reason") or "")
    if reason is Reason.SECRET_MISSING and not _SECRET.search(text):
        reason = Reason.CONTAINER_START_FAILED
    if reason is Reason.IMAGE_PULL_FAILED:
        text = _without_credentials(events) + text
    # A container that has terminated is not restarted.
    wait_class = WaitClass.NONE if "exitCode" in halted else WaitClass.STUCK
    return Failure(reason, shortened(f"Container {container}: {text}"), wait_class)


def _without_credentials(events: Sequence[Manifest]) -> str:
    """
    Return a sentence if pull Secrets of the pod were missing at the newest pull; else empty.

    The kubelet reports missing Secrets in an Event just before it pulls, and pulls regardless. The
    pod's status only shows the registry's error, which does not mention the missing Secret.
    """
    unread = _newest([one for one in events if one.get("reason") == _UNREAD])
    pulling = _newest([one for one in events if one.get("reason") == "Pulling"])
    if unread is None or (pulling and _seen_at(pulling) - _seen_at(unread) > _SAME_PULL):
        return ""
    return f"{str(unread.get('message', '')).split(';')[0]}. "


def _node_failure(event: Manifest) -> Failure | None:
    message, kind = str(event.get("message", "")), event.get("reason")
    if kind == "FailedMount" and _MISSING.search(message):
        return Failure(Reason.SECRET_MISSING, shortened(message))
    # A single failure is ignored: a mount often succeeds the second time.
    if kind in ("FailedMount", "FailedAttachVolume") and _times(event) > 1:
        return Failure(Reason.VOLUME_UNAVAILABLE, shortened(message), WaitClass.START)
    if kind == "FailedCreatePodSandBox":
        return Failure(Reason.CONTAINER_START_FAILED, shortened(message))
    return None


def _times(event: Manifest) -> int:
    series = event.get("series") or {}
    return int(series.get("count") or event.get("count") or 1)


def _newest(events: Sequence[Manifest]) -> Manifest | None:
    """Return the newest Event; of two in the same second, the one that is not a warning."""

    def age(event: Manifest) -> tuple[datetime, bool]:
        return _seen_at(event), event.get("type") != "Warning"

    return max(events, key=age, default=None)


def _seen_at(event: Manifest) -> datetime:
    """Return the second in which an Event was last seen; an Event without a time is the oldest."""
    series = event.get("series") or {}
    at = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return datetime.fromisoformat(at).replace(microsecond=0) if at else _LONG_AGO
