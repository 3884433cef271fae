"""What is read from a run's pod: its state, and why it does not start."""

import json
from typing import Any

import pytest

from agentrun.api.v1alpha1 import Reason
from agentrun.controller.observed import WaitClass
from agentrun.controller.pod.manifest import build_pod
from agentrun.controller.pod.messages import shortened
from agentrun.controller.pod.status import creation_failure, observe_pod
from agentrun.controller.settings import PodDefaults
from agentrun.kube.errors import ApiError
from tests.unit.controller.samples import (
    NOW,
    POD_UID,
    TIMEOUTS,
    a_profile,
    a_run,
    ago,
    an_outcome,
    stamp,
)

SETTINGS = PodDefaults(gateway_url="http://gateway:8081", runner_image="registry/runner:1")


def a_manifest(
    *, phase: str = "Running", meta: dict[str, Any] | None = None, node: str = "n", **status: Any
) -> dict[str, Any]:
    manifest = build_pod(a_run(attempts=1), a_profile(), SETTINGS, TIMEOUTS)
    manifest["metadata"] |= {"uid": POD_UID, "creationTimestamp": stamp(ago(10)), **(meta or {})}
    manifest["spec"]["nodeName"] = node
    return {**manifest, "status": {"phase": phase, **status}}


def states(agent: dict[str, Any], runner: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "agent", "state": agent}, {"name": "runner", "state": runner}]


def over(code: int = 0, **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "finishedAt": stamp(ago(1)), **more}}


def halted(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


RUNS: dict[str, Any] = {"running": {"startedAt": stamp(ago(5))}}
CREATING = halted("ContainerCreating")


def an_event(reason: str, message: str, at: float, kind: str = "Warning") -> dict[str, Any]:
    return {"reason": reason, "message": message, "type": kind, "lastTimestamp": stamp(ago(at))}


def test_a_pod_that_runs() -> None:
    pod = observe_pod(a_manifest(containerStatuses=states(RUNS, RUNS)))
    assert (pod.name, pod.uid, pod.attempt, pod.node) == ("r-1", POD_UID, 1, "n")
    assert (pod.created, pod.agent.started, pod.runner.started) == (ago(10), True, True)
    assert (pod.finished, pod.is_terminating, pod.failure, pod.disruption) == (
        False,
        False,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("manifest", "finished"),
    [
        pytest.param(a_manifest(phase="Pending"), False, id="pending"),
        pytest.param(a_manifest(containerStatuses=states(over(), RUNS)), False, id="half-over"),
        pytest.param(a_manifest(containerStatuses=states(over(), over(1))), True, id="all-over"),
        pytest.param(a_manifest(containerStatuses=[states(over(), over())[0]]), False, id="unsaid"),
        pytest.param(a_manifest(phase="Succeeded"), True, id="succeeded"),
        pytest.param(a_manifest(phase="Failed"), True, id="failed"),
    ],
)
def test_a_pod_is_finished_when_all_its_containers_are(
    manifest: dict[str, Any], finished: bool
) -> None:
    assert observe_pod(manifest).finished is finished


def unplaced(message: str) -> dict[str, Any]:
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return a_manifest(phase="Pending", node="", conditions=[{**scheduled, "message": message}])


@pytest.mark.parametrize(
    ("manifest", "reason", "wait_class"),
    [
        pytest.param(
            a_manifest(phase="Pending", containerStatuses=states(halted(said, message), CREATING)),
            reason,
            WaitClass.STUCK,
            id=said,
        )
        for said, message, reason in [
            ("ErrImagePull", "", Reason.IMAGE_PULL_FAILED),
            ("ImagePullBackOff", "", Reason.IMAGE_PULL_FAILED),
            ("InvalidImageName", "", Reason.IMAGE_PULL_FAILED),
            ("ErrImageNeverPull", "", Reason.IMAGE_PULL_FAILED),
            ("CreateContainerConfigError", 'secret "s" not found', Reason.SECRET_MISSING),
            ("CreateContainerConfigError", "couldn't find key k in Secret", Reason.SECRET_MISSING),
            ("CreateContainerConfigError", "bad user", Reason.CONTAINER_START_FAILED),
            ("CreateContainerError", "", Reason.CONTAINER_START_FAILED),
        ]
    ]
    + [
        pytest.param(
            a_manifest(containerStatuses=states(over(128, reason="StartError"), RUNS)),
            Reason.CONTAINER_START_FAILED,
            WaitClass.NONE,
            id="a-container-that-never-ran-never-will",
        ),
        pytest.param(
            unplaced("no node"),
            Reason.UNSCHEDULABLE,
            WaitClass.ROOM,
            id="unschedulable",
        ),
        pytest.param(
            unplaced('0/1 nodes are available: persistentvolumeclaim "c" not found.'),
            Reason.VOLUME_UNAVAILABLE,
            WaitClass.STUCK,
            id="claim-missing",
        ),
        pytest.param(
            unplaced("pod has unbound immediate PersistentVolumeClaims"),
            Reason.VOLUME_UNAVAILABLE,
            WaitClass.ROOM,
            id="claim-unbound",
        ),
        pytest.param(
            # As the scheduler says it, whatever it means by the end.
            unplaced("0/1 nodes: pod has unbound immediate PersistentVolumeClaims. not found"),
            Reason.VOLUME_UNAVAILABLE,
            WaitClass.ROOM,
            id="claim-unbound-and-not-found",
        ),
    ],
)
def test_why_a_pod_cannot_start(
    manifest: dict[str, Any], reason: Reason, wait_class: WaitClass
) -> None:
    failure = observe_pod(manifest).failure
    assert failure is not None
    assert (failure.reason, failure.wait_class) == (reason, wait_class)


@pytest.mark.parametrize(
    ("events", "reason", "doing"),
    [
        pytest.param([], None, "", id="nothing-is-known"),
        pytest.param(
            [an_event("FailedMount", 'volume "x" : secret "s" not found', 1)],
            Reason.SECRET_MISSING,
            'volume "x" : secret "s" not found',
            id="a-secret-is-missing",
        ),
        pytest.param(
            [an_event("FailedMount", "references non-existent secret key: k", 1)],
            Reason.SECRET_MISSING,
            "references non-existent secret key: k",
            id="a-key-is-missing",
        ),
        pytest.param(
            [
                an_event("FailedMount", 'secret "s" not found', 5),
                an_event("Pulling", "Pulling image", 5, "Normal"),
            ],
            None,
            "Pulling image",
            id="the-secret-came",
        ),
        pytest.param(
            [an_event("FailedMount", "timed out", 1)], None, "timed out", id="a-mount-that-may-pass"
        ),
        pytest.param(
            [an_event("FailedMount", "no such disk", 1) | {"count": 2}],
            Reason.VOLUME_UNAVAILABLE,
            "no such disk",
            id="a-mount-that-failed-again",
        ),
        pytest.param(
            [an_event("FailedCreatePodSandBox", "no network", 1)],
            Reason.CONTAINER_START_FAILED,
            "no network",
            id="no-sandbox",
        ),
    ],
)
def test_what_only_events_show(
    events: list[dict[str, Any]], reason: Reason | None, doing: str
) -> None:
    pod = observe_pod(
        a_manifest(phase="Pending", containerStatuses=states(CREATING, CREATING)), events
    )
    assert (pod.failure.reason if pod.failure else None, pod.waiting_for) == (reason, doing)


UNREAD = "Unable to retrieve some image pull secrets (s); attempting to pull may not succeed."


@pytest.mark.parametrize(
    ("events", "says"),
    [
        pytest.param([], "Container agent: 401 Unauthorized", id="with-its-secrets"),
        pytest.param(
            [
                an_event("FailedToRetrieveImagePullSecret", UNREAD, 5),
                an_event("Pulling", "Pulling image", 4, "Normal"),
                an_event("BackOff", "Back-off pulling image", 1),
            ],
            "Container agent: Unable to retrieve some image pull secrets (s). 401 Unauthorized",
            id="a-secret-is-missing",
        ),
        pytest.param(
            [
                an_event("FailedToRetrieveImagePullSecret", UNREAD, 15),
                an_event("Pulling", "Pulling image", 1, "Normal"),
            ],
            "Container agent: 401 Unauthorized",
            id="the-secret-came-and-is-wrong",
        ),
    ],
)
def test_whether_an_image_was_pulled_without_its_secrets(
    events: list[dict[str, Any]], says: str
) -> None:
    refused = states(halted("ErrImagePull", "401 Unauthorized"), CREATING)
    pod = observe_pod(a_manifest(phase="Pending", containerStatuses=refused), events)
    assert pod.failure is not None
    assert (pod.failure.reason, pod.failure.message) == (Reason.IMAGE_PULL_FAILED, says)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        pytest.param(
            {"conditions": [_target]},
            reason,
            id=str(_target["reason"]),
        )
        for _target, reason in [
            (
                {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"},
                Reason.EVICTED,
            ),
            (
                {"type": "DisruptionTarget", "status": "True", "reason": "SomethingNew"},
                Reason.EVICTED,
            ),
            (
                {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"},
                Reason.NODE_LOST,
            ),
        ]
    ]
    + [
        pytest.param({"phase": "Failed", "reason": "Evicted"}, Reason.EVICTED, id="by-the-kubelet"),
        pytest.param({"reason": "NodeLost"}, Reason.NODE_LOST, id="the-node-is-lost"),
        pytest.param({"phase": "Failed"}, None, id="failed-by-itself"),
    ],
)
def test_disruptions_of_a_pod_are_named(status: dict[str, Any], reason: Reason | None) -> None:
    disruption = observe_pod(a_manifest(**status)).disruption
    assert (disruption.reason if disruption else None) == reason


def test_the_outcome_in_a_termination_message() -> None:
    message = json.dumps(an_outcome(result={"summary": "Fixed."}))
    pod = observe_pod(a_manifest(containerStatuses=states(over(), over(message=message))))
    assert pod.outcome is not None
    assert (pod.outcome.attempt, pod.outcome.result and pod.outcome.result.summary) == (1, "Fixed.")


def test_any_other_termination_message_is_shown_as_text() -> None:
    statuses = states(over(), over(1, message="Traceback: no such file"))
    pod = observe_pod(a_manifest(containerStatuses=statuses))
    assert (pod.outcome, pod.runner.message) == (None, "Traceback: no such file")


def test_a_pod_that_is_being_deleted_has_a_deadline() -> None:
    pod = observe_pod(a_manifest(meta={"deletionTimestamp": stamp(NOW)}))
    assert (pod.is_terminating, pod.terminating_until) == (True, NOW)


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        pytest.param(
            403, "exceeded quota: q, requested: pods=1", Reason.QUOTA_EXCEEDED, id="quota"
        ),
        pytest.param(
            403,
            "maximum memory usage per Container is 1Gi, but limit is 4Gi",
            Reason.QUOTA_EXCEEDED,
            id="limit-range",
        ),
        pytest.param(403, "violates PodSecurity", Reason.POD_REJECTED, id="admission"),
        pytest.param(422, "Pod is invalid", Reason.POD_REJECTED, id="validation"),
        pytest.param(
            500, 'failed calling webhook "w": EOF', Reason.POD_REJECTED, id="webhook-away"
        ),
        *(
            pytest.param(
                code, f"{who} denied {what}: {code}", Reason.POD_REJECTED, id=f"{id}-{code}"
            )
            for code in (400, 401, 403, 404, 409, 413, 418, 422, 429, 451, 500, 503)
            for id, who, what in (
                ("webhook", 'admission webhook "w"', "the request"),
                ("policy", "ValidatingAdmissionPolicy 'p' with binding 'b'", "request"),
            )
        ),
        pytest.param(404, "the resource is not served", Reason.POD_REJECTED, id="not-served"),
        pytest.param(413, "Request entity too large", Reason.POD_REJECTED, id="too-large"),
        pytest.param(500, "etcd leader changed", Reason.FAILED_CREATE, id="the-servers-trouble"),
        pytest.param(503, "shutting down", Reason.FAILED_CREATE, id="unavailable"),
        pytest.param(429, "slow down", Reason.FAILED_CREATE, id="too-many-requests"),
        pytest.param(401, "Unauthorized", Reason.FAILED_CREATE, id="token-not-accepted"),
        pytest.param(0, "no route to host", Reason.FAILED_CREATE, id="no-answer"),
        pytest.param(
            409, "Operation cannot be fulfilled on q", Reason.FAILED_CREATE, id="quota-changed"
        ),
        pytest.param(
            403, "namespace ns because it is being terminated", None, id="namespace-terminates"
        ),
    ],
)
def test_why_the_api_server_does_not_create_a_pod(
    code: int, message: str, reason: Reason | None
) -> None:
    failure = creation_failure(ApiError(code, "", message), "Pod r-1")
    assert (failure.reason if failure else None) == reason
    assert failure is None or message in failure.message


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        pytest.param(
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption:"
            " 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            "0/1 nodes are available: 1 Insufficient cpu.",
            id="the-scheduler",
        ),
        pytest.param(
            'Back-off pulling image "i:1": ErrImagePull: rpc error: code = NotFound desc = i:1:'
            " not found",
            "i:1: not found",
            id="the-kubelet",
        ),
        pytest.param("two\n  lines ", "two lines", id="lines"),
        pytest.param("x" * 2000, "x" * 999 + "…", id="long"),
    ],
)
def test_messages_of_kubernetes_are_shortened(said: str, shown: str) -> None:
    assert shortened(said) == shown
