"""
What the statuses of a pod's containers say.

Admission may add containers to a pod, as a service mesh does: init containers, among them sidecars
that are restarted, and regular containers. They may keep the run's own containers from starting.
Once these have started, only they decide about the run.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from agentrun.api import pod_layout as layout
from agentrun.api.v1alpha1 import Reason
from agentrun.controller.observed import ContainerObservation, Failure, WaitClass
from agentrun.controller.pod.messages import Manifest, newest, seen_at, shortened

_HALTED = {
    "ErrImagePull": Reason.IMAGE_PULL_FAILED,
    "ImagePullBackOff": Reason.IMAGE_PULL_FAILED,
    "InvalidImageName": Reason.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": Reason.IMAGE_PULL_FAILED,
    "ImageInspectError": Reason.IMAGE_PULL_FAILED,
    "RegistryUnavailable": Reason.IMAGE_PULL_FAILED,
    "SignatureValidationFailed": Reason.IMAGE_PULL_FAILED,
    "CreateContainerConfigError": Reason.SECRET_MISSING,
    "CreateContainerError": Reason.CONTAINER_START_FAILED,
    "PreCreateHookError": Reason.CONTAINER_START_FAILED,
    "PreStartHookError": Reason.CONTAINER_START_FAILED,
    "PostStartHookError": Reason.CONTAINER_START_FAILED,
    "RunContainerError": Reason.CONTAINER_START_FAILED,
    "StartError": Reason.CONTAINER_START_FAILED,
    "ContainerCannotRun": Reason.CONTAINER_START_FAILED,
}
_SECRET = re.compile(r"secret|configmap|find key", re.IGNORECASE)
_UNREAD = "FailedToRetrieveImagePullSecret"
# The most time from the kubelet's read of the Secrets to the pull; two pulls are further apart.
_SAME_PULL = timedelta(seconds=5)
# They say nothing beyond the exit code.
_PLAIN_REASONS = frozenset({"", "Completed", "Error"})


def observe_container(status: Manifest) -> ContainerObservation:
    """Derive the observed state of a container from its status."""
    state = status.get("state", {})
    ended = state.get("terminated")
    if ended is None:
        return ContainerObservation(started="running" in state)
    at = ended.get("finishedAt")
    return ContainerObservation(
        started=True,
        exit_code=ended.get("exitCode", 0),
        ended=datetime.fromisoformat(at) if at else None,
        reason=ended.get("reason", ""),
        message=ended.get("message", ""),
    )


def have_started(pod: Manifest) -> bool:
    """Whether all containers of the run itself have started."""
    statuses = {one["name"]: one for one in _statuses(pod, "containerStatuses")}
    own = [one["name"] for one in pod["spec"]["containers"] if one["name"] in layout.CONTAINERS]
    return all(name in statuses and observe_container(statuses[name]).started for name in own)


def container_failure(pod: Manifest, events: Sequence[Manifest]) -> Failure | None:
    """Return the failure of a container that keeps a pod from starting; None if there is none."""
    started = have_started(pod)
    if not started:
        for status in _statuses(pod, "initContainerStatuses"):
            if failure := _init_failure(status, events):
                return failure
    for status in _statuses(pod, "containerStatuses"):
        if started and status["name"] not in layout.CONTAINERS:
            continue
        state = status.get("state", {})
        halted = state.get("waiting") or state.get("terminated") or {}
        if reason := _HALTED.get(halted.get("reason", "")):
            return _failure(reason, f"Container {status['name']}", halted, events)
        if crash := _crash(status):
            return _restarting(f"Container {status['name']}", crash)
    return None


def init_pending(pod: Manifest) -> str:
    """Return the name of the init container that a pod waits for; empty if there is none."""
    statuses = {one["name"]: one for one in _statuses(pod, "initContainerStatuses")}
    for container in pod["spec"].get("initContainers", []):
        status = statuses.get(container["name"], {})
        is_sidecar = container.get("restartPolicy") == "Always"
        done = status.get("started") if is_sidecar else observe_container(status).is_over
        if not done:
            return str(container["name"])
    return ""


def init_fault(pod: Manifest) -> str:
    """Return a message on the init container that ended a pod; empty if there is none."""
    if any(observe_container(one).started for one in _statuses(pod, "containerStatuses")):
        return ""
    for status in _statuses(pod, "initContainerStatuses"):
        terminated = status.get("state", {}).get("terminated")
        if terminated and terminated.get("exitCode"):
            where = f"Init container {status['name']} of pod {pod['metadata']['name']}"
            return _exit(where, terminated)
    return ""


def _statuses(pod: Manifest, field: str) -> Iterator[Manifest]:
    yield from pod.get("status", {}).get(field) or ()


def _init_failure(status: Manifest, events: Sequence[Manifest]) -> Failure | None:
    where = f"Init container {status['name']}"
    # One that has terminated ends the pod, or is restarted.
    waiting = status.get("state", {}).get("waiting") or {}
    if reason := _HALTED.get(waiting.get("reason", "")):
        return _failure(reason, where, waiting, events)
    crash = _crash(status)
    return _restarting(where, crash) if crash else None


def _crash(status: Manifest) -> Manifest | None:
    """Return the last termination of a container that the kubelet restarts, so far in vain."""
    last: Manifest = status.get("lastState", {}).get("terminated") or {}
    return last if last.get("exitCode") and not status.get("started") else None


def _restarting(where: str, crash: Manifest) -> Failure:
    return Failure(Reason.CONTAINER_START_FAILED, _exit(where, crash))


def _exit(where: str, terminated: Manifest) -> str:
    """Describe how a container terminated."""
    how, reason = layout.describe_exit(terminated["exitCode"]), terminated.get("reason", "")
    how += "" if reason in _PLAIN_REASONS else f", {reason}"
    return shortened(f"{where} terminated ({how}). {terminated.get('message', '')}")


def _failure(reason: Reason, where: str, halted: Manifest, events: Sequence[Manifest]) -> Failure:
    text = shortened(halted.get("message") or halted.get("reason") or "")
    if reason is Reason.SECRET_MISSING and not _SECRET.search(text):
        reason = Reason.CONTAINER_START_FAILED
    if reason is Reason.IMAGE_PULL_FAILED:
        text = _without_credentials(events) + text
    # A container that has terminated is not restarted.
    wait_class = WaitClass.NONE if "exitCode" in halted else WaitClass.STUCK
    return Failure(reason, shortened(f"{where}: {text}"), wait_class)


def _without_credentials(events: Sequence[Manifest]) -> str:
    """
    Return a sentence if pull Secrets of the pod were missing at the newest pull; else empty.

    The kubelet reports missing Secrets in an Event just before it pulls, and pulls regardless. The
    pod's status only shows the registry's error, which does not mention the missing Secret.
    """
    unread = newest([one for one in events if one.get("reason") == _UNREAD])
    pulling = newest([one for one in events if one.get("reason") == "Pulling"])
    if unread is None or (pulling and seen_at(pulling) - seen_at(unread) > _SAME_PULL):
        return ""
    return f"{str(unread.get('message', '')).split(';')[0]}. "
