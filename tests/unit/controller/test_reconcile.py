"""Turns of runs against an API server in memory: from spec to pod to end, through every trouble."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from agentrun.controller.actions import SetStatus
from agentrun.controller.caches import CACHED
from agentrun.controller.observe import STUCK_STARTING_SECONDS
from agentrun.controller.queue import RequeueError
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import EVENTS, NAMESPACES, PODS, PROFILES, RUNS, SESSIONS, Resource
from tests.unit.controller.fake_api import FakeApi
from tests.unit.controller.operators import (
    KEY,
    Operator,
    a_profile_object,
    a_run_object,
    agent_says,
    cancel,
    change,
    finished,
    pod_is,
    started,
)
from tests.unit.controller.samples import NOW, ago, stamp

KINDS = (*CACHED, EVENTS, NAMESPACES)
"""All that the operator reads or writes."""


def orphan(api: FakeApi) -> None:
    """Remove the owner of the run's pod, as the garbage collector does."""
    metadata = (api.stored(PODS, "r-1") or {})["metadata"]
    change(api, PODS, "r-1", metadata={**metadata, "ownerReferences": []})


async def test_a_run_from_spec_to_completion(operator: Operator) -> None:
    await started(operator)
    assert operator.run().status.phase == "Running"
    agent_says(
        operator.api,
        state="Finished",
        sessionID="s1",
        outcome={"attempt": 1, "state": "Completed", "result": {"summary": "Fixed."}},
    )
    finished(operator.api)
    await operator.reconcile()
    status = operator.run().status
    assert (status.phase, status.completion_time) == ("Completed", NOW)
    assert status.result is not None
    assert status.result.summary == "Fixed."
    assert operator.news.told == ["Accepted", "PodPending", "Working", "Completed"]


async def test_a_session_is_claimed_for_the_run_and_released_after_it(operator: Operator) -> None:
    await started(operator)
    session = operator.api.stored(SESSIONS, "r") or {}
    assert session["status"]["activeRun"]["uid"] == operator.run().metadata.uid
    cancel(operator.api)
    await operator.reconcile()
    operator.api.drop(PODS, "r-1")
    await operator.reconcile()
    session = operator.api.stored(SESSIONS, "r") or {}
    assert "activeRun" not in session["status"]
    assert session["status"]["lastRun"] == "r"


async def test_runs_of_a_session_start_in_order_of_creation(
    operator: Operator,
) -> None:
    # A run that was asked for with an idempotency key has a name without a time in it.
    for name, age in (("z", 2), ("b", 1), ("a", 1)):
        made = a_run_object(name, session={"name": "s"})
        made["metadata"]["creationTimestamp"] = stamp(ago(age))
        operator.api.put(RUNS, made)
    for name in ("a", "b", "z"):
        await operator.reconcile(("ns", name))
    assert [operator.run(name).attempts for name in ("z", "a", "b")] == [1, 0, 0]
    assert operator.caches.runs_of(("ns", "s")) == [
        operator.api.stored(RUNS, name) for name in ("z", "a", "b")
    ]


async def test_runs_of_a_session_are_active_one_at_a_time(operator: Operator) -> None:
    for name in ("b", "a"):
        operator.api.put(RUNS, a_run_object(name, session={"name": "s"}))
    for _ in range(2):
        await operator.reconcile(("ns", "b"))
        await operator.reconcile(("ns", "a"))
    assert (operator.run("a").attempts, operator.run("b").status.reason) == (1, "SessionBusy")
    cancel(operator.api, "a")
    await operator.reconcile(("ns", "a"))
    assert operator.run("b").attempts == 0
    operator.api.drop(PODS, "a-1")
    await operator.reconcile(("ns", "a"))
    assert ("ns", "b") in operator.added
    await operator.reconcile(("ns", "b"))
    assert operator.run("b").attempts == 1


async def test_a_session_whose_holder_was_deleted_is_free_once_its_pod_is_deleted(
    operator: Operator,
) -> None:
    for name in ("a", "b"):
        operator.api.put(RUNS, a_run_object(name, session={"name": "s"}))
        await operator.reconcile(("ns", name))
    operator.api.drop(RUNS, "a")
    await operator.reconcile(("ns", "a"))
    await operator.reconcile(("ns", "b"))
    assert operator.run("b").status.reason == "SessionBusy"
    operator.api.drop(PODS, "a-1")
    await operator.reconcile(("ns", "a"))
    await operator.reconcile(("ns", "b"))
    assert operator.run("b").attempts == 1


async def test_nothing_is_written_when_nothing_changed(operator: Operator) -> None:
    await started(operator)
    operator.api.calls.clear()
    await operator.reconcile()
    assert [operator.api.verbs(kind) for kind in KINDS] == [[]] * len(KINDS)


async def test_status_agent_is_never_changed(operator: Operator) -> None:
    await started(operator)
    agent: dict[str, Any] = {
        "state": "InputRequired",
        "question": {"id": "q", "text": "Which?"},
        "promptSent": True,
    }
    agent_says(operator.api, **agent)
    await operator.reconcile()
    stored = operator.api.stored(RUNS, "r") or {}
    assert stored["status"]["agent"] == agent
    assert stored["status"]["phase"] == "InputRequired"


@pytest.mark.parametrize("calls", range(1, 40))
async def test_a_crash_at_any_request_is_harmless(calls: int) -> None:
    """Kill the operator before its nth request, and again at each request of its successor."""
    api = FakeApi()
    api.put(PROFILES, a_profile_object())
    api.put(RUNS, a_run_object())
    crashing = Operator(api)

    def crash(verb: str, kind: Resource, name: str) -> None:
        if len(api.calls) >= calls:
            raise asyncio.CancelledError

    api.before = crash
    with pytest.raises(asyncio.CancelledError):
        await crashing.reconcile(times=100)
    crashing.close()
    api.before = lambda verb, kind, name: None
    successor = Operator(api)
    await successor.reconcile()
    assert successor.run().attempts == 1
    assert [name for kind, _, name in api.objects if kind == PODS.plural] == ["r-1"]
    successor.close()


async def test_a_pod_is_adopted_after_the_response_to_its_creation_was_lost(
    operator: Operator,
) -> None:
    operator.api.put(RUNS, a_run_object())

    def lose_the_answer(verb: str, kind: Resource, name: str) -> None:
        if (verb, kind) == ("create", PODS):
            operator.api.before = lambda verb, kind, name: None
            raise ApiUnavailableError("the connection broke")

    operator.api.before = lose_the_answer
    await operator.reconcile()
    assert operator.run().status.pod_uid is not None
    assert operator.run().attempts == 1


async def test_a_pod_of_somebody_else_is_not_changed(operator: Operator) -> None:
    operator.api.put(PODS, {"metadata": {"name": "r-1"}, "spec": {"containers": []}})
    operator.api.put(RUNS, a_run_object())
    await operator.reconcile()
    assert operator.run().status.reason == "PodNameTaken"
    assert operator.run().status.phase == "Failed"
    assert "delete" not in operator.api.verbs(PODS)


async def test_a_refused_pod_is_reported_and_retried_until_it_is_created(
    operator: Operator,
) -> None:
    operator.api.put(RUNS, a_run_object())

    def refuse(verb: str, kind: Resource, name: str) -> None:
        if (verb, kind) == ("create", PODS):
            raise ApiError(403, "Forbidden", "exceeded quota: q")

    operator.api.before = refuse
    await operator.reconcile()
    status = operator.run().status
    assert (status.phase, status.reason, status.attempts) == ("Queued", "QuotaExceeded", 1)
    assert status.message == "exceeded quota: q"
    operator.api.before = lambda verb, kind, name: None
    await operator.reconcile()
    assert operator.run().status.reason == "PodPending"


async def test_a_pod_that_stays_refused_fails_the_run(operator: Operator) -> None:
    operator.api.put(RUNS, a_run_object())

    def refuse(verb: str, kind: Resource, name: str) -> None:
        if (verb, kind) == ("create", PODS):
            raise ApiError(422, "Invalid", "invalid")

    operator.api.before = refuse
    await operator.reconcile()
    operator.now += timedelta(seconds=61)
    await operator.reconcile()
    assert (operator.run().status.phase, operator.run().status.reason) == ("Failed", "PodRejected")


async def test_a_session_that_stays_refused_fails_the_run(operator: Operator) -> None:
    operator.api.put(RUNS, a_run_object())

    def refuse(verb: str, kind: Resource, name: str) -> None:
        if (verb, kind) == ("create", SESSIONS):
            raise ApiError(403, "Forbidden", "sessions are forbidden: exceeded quota: objects")

    operator.api.before = refuse
    await operator.reconcile()
    status = operator.run().status
    assert (status.phase, status.reason) == ("Queued", "QuotaExceeded")
    operator.now += timedelta(seconds=601)
    await operator.reconcile()
    status = operator.run().status
    assert (status.phase, status.reason) == ("Failed", "QuotaExceeded")


async def test_a_cancel_during_the_write_of_completion_wins(operator: Operator) -> None:
    await started(operator)
    agent_says(operator.api, state="Finished", outcome={"attempt": 1, "state": "Completed"})
    finished(operator.api)

    def cancel_first(verb: str, kind: Resource, name: str) -> None:
        if (verb, kind) == ("patch", RUNS):
            operator.api.before = lambda verb, kind, name: None
            cancel(operator.api)

    await operator.see()
    operator.api.before = cancel_first
    await operator.reconcile()
    assert operator.run().status.phase == "Cancelling"
    operator.api.drop(PODS, "r-1")
    await operator.reconcile()
    assert operator.run().status.phase == "Cancelled"


async def test_the_outcome_is_read_before_a_pods_end_is_classified(operator: Operator) -> None:
    await started(operator)
    run = operator.api.stored(RUNS, "r") or {}
    agent_says(operator.api, state="Finished", outcome={"attempt": 1, "state": "Completed"})
    finished(operator.api)
    # Only the news of the pod has come over the watches.
    operator.caches.of(PODS).put("ns", operator.api.stored(PODS, "r-1") or {})
    assert "outcome" not in run["status"]["agent"]
    await operator.reconciler.reconcile(KEY)
    assert operator.run().status.phase == "Completed"


async def test_a_pod_missing_from_the_cache_is_not_considered_deleted(operator: Operator) -> None:
    await started(operator)
    pod = operator.api.stored(PODS, "r-1") or {}
    operator.caches.of(PODS).remove("ns", "r-1", pod["metadata"]["uid"])
    assert operator.caches.pods_of(KEY) == []
    await operator.reconciler.reconcile(KEY)
    assert operator.run().status.phase == "Running"


async def test_a_deleted_run_takes_its_pod_with_it(operator: Operator) -> None:
    await started(operator)
    operator.api.drop(RUNS, "r")
    await operator.reconcile()
    assert (operator.api.stored(PODS, "r-1") or {})["metadata"]["deletionTimestamp"]


async def test_the_pod_of_an_earlier_run_of_the_same_name_is_deleted_first(
    operator: Operator,
) -> None:
    await started(operator)
    operator.api.drop(RUNS, "r")
    operator.api.put(RUNS, a_run_object())
    await operator.reconcile()
    assert operator.run().status.phase == "Queued"
    assert (operator.api.stored(PODS, "r-1") or {})["metadata"]["deletionTimestamp"]
    operator.api.drop(PODS, "r-1")
    await operator.reconcile()
    assert operator.run().status.reason == "PodPending"
    owner = (operator.api.stored(PODS, "r-1") or {})["metadata"]["ownerReferences"][0]
    assert owner["uid"] == operator.run().metadata.uid


@pytest.mark.parametrize("is_over", [False, True], ids=["works", "is-over"])
async def test_a_pod_orphaned_while_the_operator_was_away_is_deleted(
    operator: Operator, is_over: bool
) -> None:
    await started(operator)
    if is_over:
        finished(operator.api)
    orphan(operator.api)
    operator.api.drop(RUNS, "r")
    returned = Operator(operator.api)
    await returned.see()
    assert KEY in returned.added
    await returned.reconcile()
    assert (operator.api.stored(PODS, "r-1") or {})["metadata"]["deletionTimestamp"]
    assert (operator.api.stored(SESSIONS, "r") or {})["status"]["activeRun"]
    operator.api.drop(PODS, "r-1")
    await returned.reconcile()
    assert "activeRun" not in (operator.api.stored(SESSIONS, "r") or {})["status"]
    returned.close()


async def test_an_orphaned_pod_of_a_run_that_exists_remains_its_pod(operator: Operator) -> None:
    await started(operator)
    orphan(operator.api)
    await operator.reconcile()
    assert operator.run().status.reason == "Working"
    cancel(operator.api)
    await operator.reconcile()
    assert operator.run().status.phase == "Cancelling"
    operator.api.drop(PODS, "r-1")
    await operator.reconcile()
    assert operator.run().status.phase == "Cancelled"


async def test_a_pod_that_only_carries_the_label_is_not_changed(operator: Operator) -> None:
    labels = {"agentrun.dev/run": "r"}
    bystander = {"metadata": {"name": "x", "labels": labels}, "spec": {"containers": []}}
    operator.api.put(PODS, bystander)
    await operator.reconcile()
    assert operator.api.verbs(PODS) == []


async def test_a_finished_run_is_deleted_after_its_ttl(operator: Operator) -> None:
    operator.api.put(RUNS, a_run_object(ttlSecondsAfterFinished=60, desiredState="Cancelled"))
    await operator.reconcile()
    assert operator.run().status.phase == "Cancelled"
    operator.now += timedelta(seconds=60)
    await operator.reconcile()
    assert operator.api.stored(RUNS, "r") is None


async def test_an_unavailable_api_server_is_retried(operator: Operator) -> None:
    operator.api.put(RUNS, a_run_object())
    await operator.see()

    def away(verb: str, kind: Resource, name: str) -> None:
        raise ApiUnavailableError("connection refused")

    operator.api.before = away
    with pytest.raises(RequeueError, match="connection refused"):
        await operator.reconciler.reconcile(KEY)
    operator.api.before = lambda verb, kind, name: None
    await operator.reconcile()
    assert operator.run().status.reason == "PodPending"


async def test_unreadable_events_block_nothing(operator: Operator) -> None:
    operator.api.put(RUNS, a_run_object())
    await operator.reconcile()
    pod_is(operator.api, phase="Pending", waiting={"reason": "ContainerCreating"})

    def forbidden(verb: str, kind: Resource, name: str) -> None:
        if kind is EVENTS:
            raise ApiError(403, "Forbidden", "forbidden")

    operator.api.before = forbidden
    await operator.reconcile()
    assert operator.run().status.node_name == "n"


async def test_events_are_listed_only_for_a_pod_that_cannot_start(operator: Operator) -> None:
    asked = ("list", EVENTS, "")
    operator.api.put(RUNS, a_run_object())
    await operator.reconcile()
    pod_is(operator.api, phase="Pending", waiting={"reason": "ContainerCreating"})
    pod = operator.api.stored(PODS, "r-1") or {}
    made = {**pod["metadata"], "creationTimestamp": stamp(NOW)}
    change(operator.api, PODS, "r-1", metadata=made)
    await operator.reconcile()
    assert asked not in operator.api.calls
    operator.now += timedelta(seconds=STUCK_STARTING_SECONDS)
    await operator.reconcile()
    assert asked in operator.api.calls


async def test_an_eviction_that_only_an_event_shows_is_named(operator: Operator) -> None:
    await started(operator)
    interrupted = {"attempt": 1, "state": "Interrupted"}
    agent_says(operator.api, state="Working", promptSent=True, outcome=interrupted)
    finished(operator.api)
    pod = operator.api.stored(PODS, "r-1") or {}
    why = 'Usage of EmptyDir volume "workspace" exceeds the limit "10Mi".'
    evicted = {
        "metadata": {"name": "r-1.1", "namespace": "ns"},
        "involvedObject": {"uid": pod["metadata"]["uid"]},
        "reason": "Evicted",
        "message": why,
    }
    operator.api.put(EVENTS, evicted)
    await operator.reconcile()
    status = operator.run().status
    assert (status.phase, status.reason, status.message) == ("Failed", "Evicted", why)


async def test_deletions_missed_by_the_watch_are_found_by_comparison(operator: Operator) -> None:
    await started(operator)
    operator.api.drop(PODS, "r-1")
    assert operator.caches.pods_of(KEY)
    await operator.see()
    assert operator.caches.pods_of(KEY) == []


async def test_an_older_version_does_not_replace_a_newer_one(operator: Operator) -> None:
    await started(operator)
    newest = operator.caches.of(RUNS).get(KEY)
    assert newest is not None
    older = {**newest, "metadata": {**newest["metadata"], "resourceVersion": "1"}}
    assert not operator.caches.of(RUNS).put("ns", older)
    assert operator.caches.of(RUNS).get(KEY) is newest


async def test_a_deleted_object_does_not_come_back(operator: Operator) -> None:
    await started(operator)
    run = operator.caches.of(RUNS).get(KEY)
    assert run is not None
    operator.caches.of(RUNS).remove(*KEY, run["metadata"]["uid"])
    late = {**run, "metadata": {**run["metadata"], "resourceVersion": "999999"}}
    assert not operator.caches.of(RUNS).put("ns", late)
    assert operator.caches.of(RUNS).get(KEY) is None


async def test_a_new_profile_triggers_the_runs_that_wait_for_it() -> None:
    operator = Operator()
    for name, profile in (("a", "codex"), ("b", "other")):
        operator.api.put(RUNS, a_run_object(name, profile=profile))
        await operator.reconcile(("ns", name))
    assert operator.run("a").status.reason == "ProfileNotFound"
    offered = operator.api.put(PROFILES, a_profile_object())
    operator.added.clear()
    operator.caches.of(PROFILES).put("ns", offered)
    assert operator.added == [("ns", "a")]
    await operator.reconcile(("ns", "a"))
    assert operator.run("a").status.reason == "PodPending"
    operator.close()


async def test_the_caches_are_filled_once_the_api_server_is_there(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.api.put(RUNS, a_run_object())
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    def away(verb: str, kind: Resource, name: str) -> None:
        if len(pauses) < 7:
            raise ApiUnavailableError("connection refused")

    monkeypatch.setattr("agentrun.controller.sync.asyncio.sleep", sleep)
    operator.api.before = away
    await operator.sync.start()
    assert pauses == [0.5, 1, 2, 4, 5, 5, 5]
    assert operator.added[-1] == KEY


async def test_a_namespace_without_rights_does_not_affect_others_and_is_resumed() -> None:
    api = FakeApi()
    operator = Operator(api)
    operator.sync.namespaces = ("gone", "ns")
    api.put(RUNS, a_run_object())
    forbidden_namespaces = ["gone"]

    async def list_in(namespace: str) -> None:
        if namespace in forbidden_namespaces:
            raise ApiError(403, "Forbidden", "forbidden")

    answer = api.list

    async def forbidding(resource: Resource, namespace: str, **query: str) -> Any:
        await list_in(namespace)
        return await answer(resource, namespace, **query)

    api.list = forbidding  # type: ignore[method-assign]
    await operator.sync.start()
    assert operator.sync.not_ready_reason == ""
    assert operator.sync.forbidden_namespaces == {"gone"}
    assert KEY in operator.added
    forbidden_namespaces.clear()
    await operator.sync.relist()
    assert operator.sync.forbidden_namespaces == set()
    operator.close()


async def test_a_run_whose_pod_is_deleted_with_its_namespace_is_cancelled(
    operator: Operator,
) -> None:
    await started(operator)
    operator.api.put(NAMESPACES, {"metadata": {"name": "", "deletionTimestamp": stamp(NOW)}})
    operator.api.drop(PODS, "r-1")
    await operator.reconcile()
    status = operator.run().status
    assert (status.phase, status.reason) == ("Cancelled", "Deleted")
    assert "Namespace ns" in (status.message or "")


async def test_a_pod_refused_by_a_terminating_namespace_is_no_failure(operator: Operator) -> None:
    operator.api.put(RUNS, a_run_object())

    def dying(verb: str, kind: Resource, name: str) -> None:
        if (verb, kind) == ("create", PODS):
            raise ApiError(
                403,
                "Forbidden",
                "unable to create new content in namespace ns because it is being terminated",
            )

    operator.api.before = dying
    await operator.reconcile()
    status = operator.run().status
    assert (status.phase, status.reason) == ("Queued", "Accepted")


async def test_a_run_in_a_namespace_without_rights_is_not_requested_repeatedly(
    operator: Operator,
) -> None:
    def forbid(verb: str, kind: Resource, name: str) -> None:
        raise ApiError(403, "Forbidden", "forbidden")

    operator.api.before = forbid
    await operator.reconciler.reconcile(KEY)
    assert len(operator.api.calls) == 1


async def test_a_write_does_not_revert_a_later_write_of_another_operator(
    operator: Operator,
) -> None:
    await started(operator)
    decided_on = operator.run()
    newer = {"status": {"attempts": 2, "podName": "r-2"}}
    await operator.api.patch(RUNS, "ns", "r", newer, subresource="status")
    await operator.see()
    status = decided_on.status.model_copy(update={"message": "The pod runs."})
    await operator.reconciler.applier.apply([SetStatus(status)], decided_on, None, NOW)
    stored = operator.run().status
    assert (stored.attempts, stored.pod_name, stored.message) == (2, "r-2", "The pod runs.")
