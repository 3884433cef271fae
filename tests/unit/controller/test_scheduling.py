"""Runs whose pods are not scheduled: what is said, and for how long it may last."""

from datetime import timedelta

import pytest

from agentrun.kube.resources import PODS, RUNS
from dev.failures import find
from tests.failures import check_end, promised
from tests.unit.controller.operators import Operator, a_run_object, change
from tests.unit.controller.samples import NOW, TIMEOUTS, stamp

BLOCKED = "Scheduling is blocked due to non-empty scheduling gates"
A_MOMENT = timedelta(seconds=1)


def is_unscheduled(operator: Operator, reason: str, message: str, *gates: str) -> None:
    """Have the pod's condition state why it is not scheduled."""
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    pod = operator.api.stored(PODS, "r-1") or {}
    spec = {**pod["spec"], "schedulingGates": [{"name": gate} for gate in gates]}
    change(
        operator.api, PODS, "r-1", spec=spec, status={"phase": "Pending", "conditions": [condition]}
    )


@pytest.fixture
async def operator(operator: Operator) -> Operator:
    operator.api.put(RUNS, {**a_run_object(), "status": {}})
    await operator.reconcile()
    pod = operator.api.stored(PODS, "r-1") or {}
    change(operator.api, PODS, "r-1", metadata={**pod["metadata"], "creationTimestamp": stamp(NOW)})
    return operator


async def ended(operator: Operator) -> None:
    """Reconcile after a bound, and have the pod's node confirm its deletion."""
    await operator.reconcile()
    operator.api.drop(PODS, "r-1")
    await operator.reconcile()


@promised("scheduling-gated")
async def test_a_pod_may_wait_in_a_queue_as_long_as_its_run_may_take(
    operator: Operator, key: str
) -> None:
    is_unscheduled(operator, "SchedulingGated", BLOCKED, "kueue.x-k8s.io/admission")
    await operator.reconcile()
    status = operator.run().status
    assert (status.phase, status.reason) == ("Starting", "SchedulingGated")
    assert BLOCKED in (status.message or "")
    assert "kueue.x-k8s.io/admission" in (status.message or "")
    conditions = {one.type: (one.status, one.reason) for one in status.conditions}
    assert conditions["PodScheduled"] == ("False", "SchedulingGated")
    operator.now += timedelta(seconds=TIMEOUTS.deadline) - A_MOMENT
    await operator.reconcile()
    assert operator.run().status.phase == "Starting"
    operator.now += 2 * A_MOMENT
    await ended(operator)
    status = operator.run().status
    check_end(find(key), status.phase or "", status.reason or "", status.message or "")


async def test_a_pod_that_leaves_its_queue_may_wait_for_a_node_as_long_as_any_other(
    operator: Operator,
) -> None:
    is_unscheduled(operator, "SchedulingGated", BLOCKED)
    await operator.reconcile()
    operator.now += timedelta(seconds=TIMEOUTS.unschedulable + 1)
    is_unscheduled(operator, "Unschedulable", "0/1 nodes are available")
    await operator.reconcile()
    status = operator.run().status
    assert (status.phase, status.reason) == ("Starting", "Unschedulable")
    operator.now += timedelta(seconds=TIMEOUTS.unschedulable) - A_MOMENT
    await operator.reconcile()
    assert operator.run().status.phase == "Starting"
    operator.now += 2 * A_MOMENT
    await ended(operator)
    assert operator.run().status.phase == "Failed"


@promised("scheduler-fails")
@pytest.mark.parametrize("reason", ["SchedulerError", "QueueNotFound"])
async def test_any_other_reason_is_reported_with_its_message(
    operator: Operator, key: str, reason: str
) -> None:
    is_unscheduled(operator, reason, "plugin P failed")
    await operator.reconcile()
    status = operator.run().status
    assert status.reason == "Unschedulable"
    assert status.message == f"The pod cannot be scheduled: {reason}: plugin P failed"
    operator.now += timedelta(seconds=TIMEOUTS.unschedulable + 1)
    await ended(operator)
    status = operator.run().status
    check_end(find(key), status.phase or "", status.reason or "", status.message or "")
