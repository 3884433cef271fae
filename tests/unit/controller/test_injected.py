"""Runs whose pods have containers that admission has added, as a service mesh does."""

from datetime import timedelta
from typing import Any

import pytest

from agentrun.kube.api import Object
from agentrun.kube.resources import PODS, RUNS
from dev.failures import find
from tests.failures import check_end, promised
from tests.unit.controller.fake_api import FakeApi
from tests.unit.controller.operators import (
    Operator,
    a_run_object,
    agent_says,
    change,
)
from tests.unit.controller.samples import NOW, stamp

RUNNING = {"running": {"startedAt": stamp(NOW)}}
WAITING = {"waiting": {"reason": "PodInitializing"}}
MESH = {"name": "mesh", "image": "mesh:1"}


def over(code: int = 0, **more: Any) -> Object:
    return {"terminated": {"exitCode": code, "finishedAt": stamp(NOW), **more}}


def halted(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


def check(operator: Operator, key: str) -> None:
    status = operator.run().status
    check_end(find(key), status.phase or "", status.reason or "", status.message or "")


def pod_with(
    api: FakeApi,
    phase: str,
    states: dict[str, Object],
    *,
    init: Object | None = None,
    **status: Any,
) -> None:
    """Set the states of containers, among them `mesh`, and of an init container `mesh`."""
    pod = api.stored(PODS, "r-1") or {}
    spec = {**pod["spec"], "nodeName": "n"}
    names = {one["name"] for one in spec["containers"]}
    spec["containers"] = [*spec["containers"], *([MESH] if "mesh" in states.keys() - names else [])]
    statuses = [{"name": name, "state": state} for name, state in states.items()]
    if init is not None:
        spec["initContainers"] = [MESH]
        status["initContainerStatuses"] = [{"name": "mesh", **init}]
    said = {"phase": phase, "containerStatuses": statuses, **status}
    change(api, PODS, "r-1", spec=spec, status=said)


@pytest.fixture
async def operator(operator: Operator) -> Operator:
    operator.api.put(RUNS, a_run_object())
    await operator.reconcile()
    return operator


async def works(operator: Operator) -> None:
    pod_with(operator.api, "Running", dict.fromkeys(("agent", "runner", "mesh"), RUNNING))
    agent_says(operator.api, state="Working", promptSent=True)
    await operator.reconcile()
    assert operator.run().status.reason == "Working"


async def test_a_runner_that_dies_beside_a_sidecar_fails_the_run_at_once(
    operator: Operator,
) -> None:
    await works(operator)
    states = {"agent": over(), "runner": over(137, reason="Error"), "mesh": RUNNING}
    pod_with(operator.api, "Running", states)
    await operator.reconcile(times=2)
    status = operator.run().status
    assert (status.phase, status.reason) == ("Failed", "RunnerFailed")
    assert operator.api.verbs(PODS) == ["create", "delete"]


async def test_a_run_with_an_outcome_completes_at_once_beside_a_sidecar(
    operator: Operator,
) -> None:
    await works(operator)
    agent_says(operator.api, state="Finished", outcome={"attempt": 1, "state": "Completed"})
    pod_with(operator.api, "Running", {"agent": over(), "runner": over(), "mesh": RUNNING})
    await operator.reconcile(times=2)
    assert operator.run().status.phase == "Completed"
    assert operator.api.verbs(PODS) == ["create", "delete"]


async def test_the_pod_of_a_run_that_waits_is_deleted_beside_a_sidecar(operator: Operator) -> None:
    await works(operator)
    waiting = {"attempt": 1, "state": "Interrupted", "waiting": True}
    kept = {"sessionID": "s", "name": "snapshots/1"}
    said: Object = {"promptSent": True, "outcome": waiting, "snapshot": kept}
    agent_says(operator.api, state="InputRequired", **said)
    pod_with(operator.api, "Running", {"agent": over(), "runner": over(), "mesh": RUNNING})
    await operator.reconcile(times=2)
    assert operator.run().status.phase == "InputRequired"
    assert operator.api.verbs(PODS) == ["create", "delete"]


async def test_a_pod_that_ends_as_a_whole_is_kept(operator: Operator) -> None:
    await works(operator)
    agent_says(operator.api, state="Finished", outcome={"attempt": 1, "state": "Completed"})
    pod_with(operator.api, "Succeeded", dict.fromkeys(("agent", "runner", "mesh"), over()))
    await operator.reconcile()
    assert operator.run().status.phase == "Completed"
    assert operator.api.verbs(PODS) == ["create"]


@pytest.mark.parametrize(
    "state",
    [
        over(1),
        over(128, reason="StartError"),
        halted("ImagePullBackOff"),
        halted("CrashLoopBackOff"),
    ],
    ids=["failed", "not-started", "no-image", "restarts"],
)
async def test_a_sidecar_does_not_end_a_run_that_works(operator: Operator, state: Object) -> None:
    await works(operator)
    pod_with(operator.api, "Running", {"agent": RUNNING, "runner": RUNNING, "mesh": state})
    await operator.reconcile()
    operator.now += timedelta(seconds=600)
    await operator.reconcile()
    assert operator.run().status.reason == "Working"


async def test_a_sidecar_without_an_image_is_named_while_the_agent_has_not_started(
    operator: Operator,
) -> None:
    missing = halted("ErrImagePull", "no such image")
    pod_with(operator.api, "Pending", {"agent": WAITING, "runner": WAITING, "mesh": missing})
    await operator.reconcile()
    status = operator.run().status
    assert (status.reason, status.message) == ("ImagePullFailed", "Container mesh: no such image")


@promised("init-fails")
@pytest.mark.parametrize("reason", ["Error", "StartError", "OOMKilled"])
async def test_an_init_container_that_fails_is_named_at_once(
    operator: Operator, key: str, reason: str
) -> None:
    init = {"state": over(2, reason=reason, message="no such table")}
    pod_with(operator.api, "Failed", {"agent": WAITING, "runner": WAITING}, init=init)
    await operator.reconcile(times=2)
    check(operator, key)
    status = operator.run().status
    assert "no such table" in (status.message or "")
    assert (reason in (status.message or "")) is (reason != "Error")
    assert status.attempts == 1


@promised("init-image-missing")
async def test_an_init_container_without_an_image_ends_the_run_in_time(
    operator: Operator, key: str
) -> None:
    init = {"state": halted("ImagePullBackOff", "failed to pull image mesh:1: not found")}
    pod_with(operator.api, "Pending", {"agent": WAITING, "runner": WAITING}, init=init)
    await operator.reconcile()
    assert operator.run().status.reason == find(key).reason
    operator.now += timedelta(seconds=61)
    await operator.reconcile()
    operator.api.drop(PODS, "r-1")
    await operator.reconcile()
    check(operator, key)


@promised("init-restarts")
@pytest.mark.parametrize(
    "state",
    [halted("CrashLoopBackOff"), RUNNING, over(1)],
    ids=["backs-off", "runs-again", "terminated-again"],
)
async def test_a_sidecar_that_restarts_in_vain_ends_the_run_in_time(
    operator: Operator, key: str, state: Object
) -> None:
    last = over(1, reason="Error", message="no control plane")
    init = {"state": state, "lastState": last, "restartCount": 3, "started": False}
    pod_with(operator.api, "Pending", {"agent": WAITING, "runner": WAITING}, init=init)
    await operator.reconcile()
    operator.now += timedelta(seconds=61)
    await operator.reconcile()
    operator.api.drop(PODS, "r-1")
    await operator.reconcile()
    check(operator, key)


async def test_an_init_container_without_its_secret_is_named(operator: Operator) -> None:
    init = {"state": halted("CreateContainerConfigError", 'secret "ca" not found')}
    pod_with(operator.api, "Pending", {"agent": WAITING, "runner": WAITING}, init=init)
    await operator.reconcile()
    status = operator.run().status
    assert (status.reason, status.message) == (
        "SecretMissing",
        'Init container mesh: secret "ca" not found',
    )


async def test_an_init_container_that_does_not_complete_is_named(operator: Operator) -> None:
    pod_with(
        operator.api, "Pending", {"agent": WAITING, "runner": WAITING}, init={"state": RUNNING}
    )
    await operator.reconcile()
    operator.now += timedelta(seconds=301)
    await operator.reconcile()
    operator.api.drop(PODS, "r-1")
    await operator.reconcile()
    status = operator.run().status
    assert status.reason == "StartTimeout"
    assert "Its init container mesh has not completed." in (status.message or "")


async def test_a_pod_that_ends_before_its_containers_start_does_not_blame_the_agent(
    operator: Operator,
) -> None:
    pod_with(operator.api, "Failed", {"agent": WAITING, "runner": WAITING})
    await operator.reconcile(times=2)
    assert operator.run().status.reason == "ContainerStartFailed"
