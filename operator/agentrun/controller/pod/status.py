"""
What the status of a run's pod says: why it does not start, how it was disrupted, how it ended.

Some errors are in the pod's status. A missing Secret that is to be mounted, or used to pull an
image, is reported only in the kubelet's Events on the pod. If the API server rejects the pod, its
error says why.
"""

import re
from collections.abc import Sequence
from datetime import datetime

from agentrun.api import pod_layout as layout
from agentrun.api.bounded_json import read
from agentrun.api.names import parse_pod_name
from agentrun.api.v1alpha1 import Outcome, Reason
from agentrun.controller.observed import ContainerObservation, Failure, PodObservation, WaitClass
from agentrun.controller.pod.container_status import (
    container_failure,
    have_started,
    init_fault,
    init_pending,
    observe_container,
)
from agentrun.controller.pod.messages import Manifest, newest, shortened, times_seen
from agentrun.kube.errors import ApiError

_MISSING = re.compile(
    r'(secrets?|configmaps?) "?[^ ]+"? not found|non-existent (secret|config) key'
)
_EVICTIONS = frozenset(
    {"EvictionByEvictionAPI", "PreemptionByScheduler", "TerminationByKubelet", "DeletionByPodGC"}
)
_NODE_LOSSES = frozenset({"DeletionByTaintManager"})
_GATED = "SchedulingGated"
_ENDING = "because it is being terminated"
_RANGE = re.compile(r"failed quota|(minimum|maximum) .*usage per|max limit to request")
_CLAIM = re.compile(r"persistentvolumeclaim", re.IGNORECASE)
_NO_CLAIM = re.compile(r'persistentvolumeclaim "[^"]*" not found')


def observe_pod(pod: Manifest, events: Sequence[Manifest] = ()) -> PodObservation:
    """Derive the observed state of a pod from its manifest and its Events."""
    metadata, status = pod["metadata"], pod.get("status", {})
    parsed = parse_pod_name(metadata["name"])
    attempt = parsed[1] if parsed else 0
    containers = {
        one["name"]: observe_container(one) for one in status.get("containerStatuses", [])
    }
    expected = [one["name"] for one in pod["spec"]["containers"]]
    is_over = {name: name in containers and containers[name].is_over for name in expected}
    has_stopped = status.get("phase") in ("Succeeded", "Failed")
    own = [name for name in expected if name in layout.CONTAINERS] or expected
    finished = has_stopped or all(is_over[name] for name in own)
    is_starting = not finished and not have_started(pod)
    runner = containers.get(layout.RUNNER, ContainerObservation())
    return PodObservation(
        name=metadata["name"],
        uid=metadata["uid"],
        attempt=attempt,
        created=_time(metadata.get("creationTimestamp")),
        node=pod["spec"].get("nodeName", ""),
        has_agent=layout.AGENT in expected,
        finished=finished,
        others_run=finished and not has_stopped and not all(is_over.values()),
        terminating_until=_time(metadata.get("deletionTimestamp")),
        failure=None if finished else start_failure(pod, events if is_starting else ()),
        disruption=disruption_of(pod, events),
        gated="" if finished else gating(pod),
        waiting_for=start_progress(events) if is_starting else "",
        init_pending=init_pending(pod) if is_starting else "",
        init_fault=init_fault(pod) if finished else "",
        agent=containers.get(layout.AGENT, ContainerObservation()),
        runner=runner,
        outcome=_parse_outcome(runner.message),
    )


def start_failure(pod: Manifest, events: Sequence[Manifest] = ()) -> Failure | None:
    """Return the failure that keeps ``pod`` from starting; None if there is none."""
    if failure := container_failure(pod, events):
        return failure
    condition = _unscheduled(pod)
    if condition.get("reason") not in (None, _GATED):
        return _unschedulable(condition["reason"], condition.get("message", ""))
    last = newest(events)
    return _node_failure(last) if last else None


def gating(pod: Manifest) -> str:
    """Return a message on the scheduling gates of a pod; empty if there are none."""
    condition = _unscheduled(pod)
    if condition.get("reason") != _GATED:
        return ""
    gates = ", ".join(one["name"] for one in pod["spec"].get("schedulingGates", []))
    waits = f"Pod {pod['metadata']['name']} waits for its scheduling gates to be removed"
    text = f"{waits}: {gates}." if gates else f"{waits}."
    return shortened(f"{text} {condition.get('message', '')}")


def start_progress(events: Sequence[Manifest]) -> str:
    """Return the message of the newest Event on a pod that has not started; empty if none."""
    last = newest(events)
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


def _parse_outcome(message: str) -> Outcome | None:
    """Parse the outcome in a termination message; None if it is other text."""
    try:
        return Outcome.model_validate(read(message, "The termination message"))
    except ValueError:
        return None


def _time(stamp: str | None) -> datetime | None:
    return datetime.fromisoformat(stamp) if stamp else None


def _unscheduled(pod: Manifest) -> Manifest:
    """Return the condition that states why a pod is not scheduled; empty if there is none."""
    for condition in pod.get("status", {}).get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            found: Manifest = condition
            return found
    return {}


def _unschedulable(reason: str, message: str) -> Failure:
    # Others than the scheduler's own reason may come with any message.
    text = shortened(message if reason == Reason.UNSCHEDULABLE else f"{reason}: {message}")
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


def _node_failure(event: Manifest) -> Failure | None:
    message, kind = str(event.get("message", "")), event.get("reason")
    if kind == "FailedMount" and _MISSING.search(message):
        return Failure(Reason.SECRET_MISSING, shortened(message))
    # A single failure is ignored: a mount often succeeds the second time.
    if kind in ("FailedMount", "FailedAttachVolume") and times_seen(event) > 1:
        return Failure(Reason.VOLUME_UNAVAILABLE, shortened(message), WaitClass.START)
    if kind == "FailedCreatePodSandBox":
        return Failure(Reason.CONTAINER_START_FAILED, shortened(message))
    return None
