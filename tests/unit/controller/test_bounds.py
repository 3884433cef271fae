"""Deadlines that would end a run are compared with what the API server has, not the caches."""

from datetime import timedelta

import pytest

from agentrun.controller.queue import RequeueError
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import PODS, PROFILES, RUNS, Resource
from tests.unit.controller.operators import (
    KEY,
    Operator,
    a_profile_object,
    a_run_object,
    agent_says,
    change,
    finished,
    pod_is,
    started,
)
from tests.unit.controller.samples import NOW, TIMEOUTS, stamp


async def reconcile_without_watches(operator: Operator) -> None:
    for _ in range(3):
        try:
            await operator.reconciler.reconcile(KEY)
        except RequeueError:
            continue


async def test_containers_that_have_started_meanwhile_are_seen(operator: Operator) -> None:
    operator.api.put(RUNS, a_run_object())
    await operator.reconcile()
    pod_is(operator.api, phase="Pending", waiting={"reason": "ContainerCreating"})
    await operator.reconcile()
    operator.now += timedelta(seconds=TIMEOUTS.start + 1)
    pod_is(operator.api, running={"startedAt": stamp(NOW)})
    agent_says(operator.api, state="Working", promptSent=True)
    await reconcile_without_watches(operator)
    status = operator.run().status
    assert (status.phase, status.reason) == ("Running", "Working")


async def test_an_image_that_was_pulled_meanwhile_is_seen(operator: Operator) -> None:
    operator.api.put(RUNS, a_run_object())
    await operator.reconcile()
    pod_is(operator.api, phase="Pending", waiting={"reason": "ImagePullBackOff"})
    await operator.reconcile()
    operator.now += timedelta(seconds=TIMEOUTS.stuck + 1)
    pod_is(operator.api, running={"startedAt": stamp(NOW)})
    await reconcile_without_watches(operator)
    assert operator.run().status.phase == "Starting"


async def test_an_outcome_that_was_reported_meanwhile_is_seen(operator: Operator) -> None:
    await started(operator)
    operator.now += timedelta(seconds=TIMEOUTS.deadline + 1)
    agent_says(operator.api, state="Finished", outcome={"attempt": 1, "state": "Completed"})
    finished(operator.api)
    await reconcile_without_watches(operator)
    assert operator.run().status.phase == "Completed"


async def test_a_longer_deadline_of_the_profile_is_seen(operator: Operator) -> None:
    operator.api.put(
        PROFILES,
        {
            "metadata": {"name": "codex"},
            "spec": {**a_profile_object()["spec"], "timeouts": {"activeDeadlineSeconds": 60}},
        },
    )
    await started(operator)
    operator.now += timedelta(seconds=61)
    operator.api.put(PROFILES, a_profile_object())
    await reconcile_without_watches(operator)
    assert operator.run().status.phase == "Running"


async def test_a_profile_that_was_created_meanwhile_is_seen(operator: Operator) -> None:
    operator.api.drop(PROFILES, "codex")
    operator.api.put(RUNS, a_run_object())
    await operator.reconcile()
    assert operator.run().status.reason == "ProfileNotFound"
    operator.now += timedelta(seconds=TIMEOUTS.stuck + 1)
    operator.api.put(PROFILES, a_profile_object())
    await reconcile_without_watches(operator)
    assert operator.run().status.reason in ("Accepted", "PodPending")


async def test_a_rejected_pod_is_tried_with_the_newest_profile(operator: Operator) -> None:
    operator.api.put(RUNS, a_run_object())

    def refuse(verb: str, kind: Resource, name: str) -> None:
        if (verb, kind) == ("create", PODS):
            raise ApiError(422, "Invalid", "no such runtime class")

    operator.api.before = refuse
    await operator.reconcile()
    assert operator.run().status.reason == "PodRejected"
    operator.now += timedelta(seconds=TIMEOUTS.stuck + 1)
    change(operator.api, PROFILES, "codex", metadata={"name": "codex", "namespace": "ns"})
    with pytest.raises(RequeueError):
        await operator.reconciler.reconcile(KEY)
    assert operator.run().status.phase == "Queued"
    operator.api.before = lambda verb, kind, name: None
    await reconcile_without_watches(operator)
    assert operator.run().status.reason == "PodPending"


async def test_no_run_is_ended_while_the_api_server_cannot_be_asked(operator: Operator) -> None:
    await started(operator)
    operator.now += timedelta(seconds=TIMEOUTS.deadline + 1)

    def away(verb: str, kind: Resource, name: str) -> None:
        if (verb, kind) == ("get", PODS):
            raise ApiUnavailableError("connection refused")

    operator.api.before = away
    await reconcile_without_watches(operator)
    assert operator.run().status.phase == "Running"
    operator.api.before = lambda verb, kind, name: None
    await reconcile_without_watches(operator)
    assert operator.run().status.phase == "Cancelling"
