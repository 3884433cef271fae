"""Sessions over an API server in memory: who is next, and what a run leaves behind."""

import asyncio
from typing import Any

import pytest

from agentrun.api.v1alpha1 import Phase
from agentrun.controller.queue import RequeueError
from agentrun.controller.sessions import session_status_after
from agentrun.kube.api import Object
from agentrun.kube.resources import PODS, PROFILES, RUNS, SESSIONS, Resource
from tests.unit.controller.fake_api import FakeApi
from tests.unit.controller.operators import (
    Operator,
    a_profile_object,
    a_run_object,
    agent_says,
    cancel,
    change,
    finished,
    started,
)
from tests.unit.controller.samples import a_started_run

SNAPSHOT = {"name": "snapshots/1", "sessionID": "s"}
RESUMES = {"mode": "resume", "name": "s"}


async def work(operator: Operator) -> None:
    """Take turns, as the workers do, until no news is left."""
    while operator.added:
        key = operator.added.pop(0)
        while key in operator.added:
            operator.added.remove(key)
        try:
            await operator.reconciler.reconcile(key)
        except RequeueError:
            operator.added.append(key)


def complete(operator: Operator, name: str, **agent: Any) -> None:
    """Let the runner of a run finish, and its pod be gone."""
    said = {"attempt": 1, "state": "Finished", "promptSent": True, "snapshot": SNAPSHOT, **agent}
    agent_says(operator.api, name, **said, outcome={"attempt": 1, "state": "Completed"})
    operator.api.drop(PODS, f"{name}-1")


def session(operator: Operator) -> Object:
    found = operator.api.stored(SESSIONS, "s") or {}
    status: Object = found["status"]
    return status


async def test_thirty_runs_created_during_completion_all_run_in_order(
    operator: Operator,
) -> None:
    operator.api.put(RUNS, a_run_object("run-00", session={"name": "s"}))
    await operator.see()
    await work(operator)
    complete(operator, "run-00")
    names = [f"run-{number:02}" for number in range(1, 31)]
    for name in reversed(names):
        operator.api.put(RUNS, a_run_object(name, session=RESUMES))
    order = []
    for _ in names:
        await operator.see()
        await work(operator)
        active = [name for name in names if operator.api.stored(PODS, f"{name}-1")]
        assert len(active) == 1, "one run of a session is active"
        order += active
        complete(operator, active[0])
    assert order == names
    await operator.see()
    await work(operator)
    assert {operator.run(name).phase for name in names} == {Phase.COMPLETED}
    uid = operator.run("run-30").metadata.uid
    assert session(operator)["snapshot"] == f"{uid}/snapshots/1"
    assert "activeRun" not in session(operator)


async def test_a_run_stores_its_conversation_even_if_another_run_is_reconciled_first(
    operator: Operator,
) -> None:
    operator.api.put(RUNS, a_run_object("a", session={"name": "s"}))
    await operator.reconcile(("ns", "a"))
    operator.api.put(RUNS, a_run_object("b", session=RESUMES))
    run = operator.api.stored(RUNS, "a") or {}
    agent = {"attempt": 1, "promptSent": True, "snapshot": SNAPSHOT}
    status = {**run["status"], "phase": "Completed", "agent": agent}
    change(operator.api, RUNS, "a", status=status)
    operator.api.drop(PODS, "a-1")
    await operator.reconcile(("ns", "b"))
    assert session(operator)["snapshot"] == f"{run['metadata']['uid']}/snapshots/1"
    assert session(operator)["activeRun"]["name"] == "b"
    assert operator.run("b").attempts == 1


async def test_a_deleted_run_does_not_block_its_session(operator: Operator) -> None:
    for name, of in (("a", {"name": "s"}), ("b", RESUMES), ("c", RESUMES)):
        operator.api.put(RUNS, a_run_object(name, session=of))
    await operator.see()
    await work(operator)
    complete(operator, "a")
    await operator.see()
    await work(operator)
    operator.api.drop(RUNS, "b")
    operator.api.drop(PODS, "b-1")
    await operator.see()
    await work(operator)
    assert operator.run("c").attempts == 1, "it goes on from what a has left"


async def test_a_lost_conversation_is_not_resumed(operator: Operator) -> None:
    operator.api.put(RUNS, a_run_object("a", session={"name": "s"}))
    operator.api.put(RUNS, a_run_object("b", session=RESUMES))
    await operator.see()
    await work(operator)
    complete(operator, "a", snapshotError="It is too large.")
    await operator.see()
    await work(operator)
    b = operator.run("b").status
    assert (b.phase, b.reason) == ("Failed", "SessionNotResumable")
    assert "It is too large." in (b.message or "")


@pytest.mark.parametrize(
    ("agent", "left"),
    [
        pytest.param(None, {}, id="a-run-that-never-began-changes-nothing"),
        pytest.param({"state": "Preparing"}, {}, id="nor-one-that-said-nothing"),
        pytest.param(
            {"promptSent": True, "snapshot": SNAPSHOT},
            {
                "snapshot": "11111111-1111-1111-1111-111111111111/snapshots/1",
                "snapshotError": None,
                "sessionID": "s",
            },
            id="its-snapshot",
        ),
        pytest.param(
            {"promptSent": True, "snapshot": SNAPSHOT, "snapshotError": "It is too large."},
            {"snapshotError": "Run r has no snapshot: It is too large."},
            id="an-error-counts-over-an-older-snapshot",
        ),
        pytest.param(
            {"promptSent": True},
            {
                "snapshotError": "Run r has no snapshot: the pod terminated before the"
                " conversation was stored."
            },
            id="a-lost-conversation",
        ),
        pytest.param(
            {"promptSent": True, "snapshot": SNAPSHOT, "acknowledgedInput": 1},
            {
                "snapshotError": "Run r has no snapshot: the pod terminated before the"
                " conversation was stored."
            },
            id="a-snapshot-without-the-last-answer",
        ),
    ],
)
def test_what_a_run_stores_in_its_session(agent: Any, left: dict[str, Any]) -> None:
    assert session_status_after(a_started_run(agent=agent)) == {"lastRun": "r", **left}


async def test_children_are_deleted_with_their_parent(operator: Operator) -> None:
    parent = operator.api.put(RUNS, a_run_object("p"))
    above = {"name": "p", "uid": parent["metadata"]["uid"]}
    operator.api.put(RUNS, a_run_object("child", parent=above))
    await operator.see()
    await work(operator)
    assert operator.run("child").attempts == 1
    cancel(operator.api, "p")
    await operator.see()
    await work(operator)
    assert operator.run("child").phase is Phase.CANCELLING
    operator.api.drop(PODS, "child-1")
    await operator.see()
    await work(operator)
    status = operator.run("child").status
    assert (status.phase, status.reason) == ("Cancelled", "CancelRequested")
    assert status.message == "The parent, run p, was cancelled."


async def test_children_survive_a_completed_parent_and_not_a_deleted_one(
    operator: Operator,
) -> None:
    parent = operator.api.put(RUNS, a_run_object("p", ttlSecondsAfterFinished=0))
    above = {"name": "p", "uid": parent["metadata"]["uid"]}
    operator.api.put(RUNS, a_run_object("child", parent=above))
    await operator.see()
    await work(operator)
    complete(operator, "p")
    await operator.see()
    await work(operator)
    assert operator.run("p").phase is Phase.COMPLETED, "it is kept for its child"
    assert operator.run("child").phase is Phase.STARTING
    operator.api.drop(RUNS, "p")
    await operator.see()
    await work(operator)
    assert operator.run("child").phase is Phase.CANCELLING


async def test_a_parent_is_deleted_after_its_ttl_once_its_children_have_ended(
    operator: Operator,
) -> None:
    parent = operator.api.put(RUNS, a_run_object("p", ttlSecondsAfterFinished=0))
    above = {"name": "p", "uid": parent["metadata"]["uid"]}
    operator.api.put(RUNS, a_run_object("child", parent=above))
    await operator.see()
    await work(operator)
    for name in ("p", "child"):
        complete(operator, name)
    await operator.see()
    await work(operator)
    await operator.reconcile(("ns", "p"))
    assert operator.api.stored(RUNS, "p") is None


@pytest.mark.parametrize("calls", range(1, 30))
async def test_an_answer_starts_one_attempt_whenever_the_operator_is_killed(calls: int) -> None:
    """Kill the operator before its nth request after the answer, and look with another."""
    api = FakeApi()
    api.put(PROFILES, a_profile_object())
    first = Operator(api)
    await started(first)
    first.close()
    left = {"attempt": 1, "state": "Interrupted", "waiting": True}
    agent_says(
        api, attempt=1, state="InputRequired", promptSent=True, snapshot=SNAPSHOT, outcome=left
    )
    finished(api)
    run = api.stored(RUNS, "r") or {}
    answer = {"seq": 1, "message": {"parts": [{"type": "text", "text": "Yes."}]}}
    change(api, RUNS, "r", spec={**run["spec"], "inputs": [answer]})
    crashing, begun = Operator(api), len(api.calls)

    def crash(verb: str, kind: Resource, name: str) -> None:
        if len(api.calls) >= begun + calls:
            raise asyncio.CancelledError

    api.before = crash
    with pytest.raises(asyncio.CancelledError):
        await crashing.reconcile(times=100)
    crashing.close()
    api.before = lambda verb, kind, name: None
    successor = Operator(api)
    await successor.reconcile()
    if api.stored(PODS, "r-1"):
        api.drop(PODS, "r-1")
        await successor.reconcile()
    assert (successor.run().attempts, successor.run().status.continuations) == (2, 1)
    assert [name for kind, _, name in api.objects if kind == PODS.plural] == ["r-2"]
    assert (api.stored(SESSIONS, "r") or {})["status"]["activeRun"]["name"] == "r"
    successor.close()
