"""Deciding about runs that wait: with a pod, without one, and with the answer there."""

from datetime import timedelta
from typing import Any

import pytest

from agentrun.api.v1alpha1 import AgentRun, Phase, Reason
from agentrun.controller.actions import CreatePod, DeletePod, RequeueAt
from agentrun.controller.decide import decide
from agentrun.controller.observed import Failure, Observed
from tests.unit.controller.samples import (
    DELETE,
    NOW,
    RUNNING,
    TIMEOUTS,
    a_finished_pod,
    a_pod,
    a_run,
    a_session,
    a_started_run,
    ago,
    ahead,
    an_outcome,
    cancelled,
    conditions_of,
    ended,
    seen,
    status_of,
    told,
)

INPUT = {"seq": 1, "message": {"parts": [{"type": "text", "text": "Yes."}]}}
SNAPSHOT = {"name": "snapshots/1", "sessionID": "s"}
LEFT = an_outcome("Interrupted", waiting=True)
EVICTED = Failure(Reason.EVICTED, "The node was short of memory.")
ENDS_AT = ahead(86_400 - 60)


def a_waiting_run(*, answers: int = 0, spec: Any = None, **more: Any) -> AgentRun:
    """Make a run that has waited for a minute; ``more`` is what its runner says besides."""
    agent = {
        "attempt": 1,
        "state": "InputRequired",
        "promptSent": True,
        "question": {"id": "q", "text": "Which?"},
        **more,
    }
    inputs = [{**INPUT, "seq": seq} for seq in range(1, answers + 1)]
    return a_started_run(
        Phase.INPUT_REQUIRED,
        agent=agent,
        spec={"inputs": inputs, **(spec or {})},
        waiting_since=ago(60),
    )


def on_hold(**more: Any) -> AgentRun:
    return a_waiting_run(**{"snapshot": SNAPSHOT, "outcome": LEFT} | more)


NEXT = [("Queued", "Accepted"), CreatePod()]
WAITS = ("InputRequired", "Question")


@pytest.mark.parametrize(
    ("run", "observed", "expected"),
    [
        pytest.param(
            on_hold(),
            seen(pod=a_pod()),
            [WAITS, RequeueAt(ahead(30)), RequeueAt(ENDS_AT)],
            id="a-pod-that-is-not-needed-any-more-gets-time-to-end",
        ),
        pytest.param(
            on_hold(),
            seen(pod=a_pod(runner=ended())),
            [WAITS, RequeueAt(ahead(30)), RequeueAt(ENDS_AT)],
            id="an-agent-that-outlives-its-runner-then-is-no-fault",
        ),
        pytest.param(
            on_hold(),
            seen(pod=a_finished_pod()),
            [WAITS, DELETE, RequeueAt(ENDS_AT)],
            id="its-pod-is-deleted",
        ),
        pytest.param(
            on_hold(),
            seen(pod=a_finished_pod(terminating_until=ago(3600))),
            [WAITS, RequeueAt(ENDS_AT)],
            id="its-pod-is-over-but-kept-by-a-finalizer",
        ),
        pytest.param(
            on_hold(answers=1),
            seen(pod=a_finished_pod(terminating_until=ago(3600))),
            NEXT,
            id="its-answer-does-not-wait-for-a-pod-that-only-a-finalizer-keeps",
        ),
        pytest.param(
            on_hold(answers=1),
            seen(pod=a_finished_pod(terminating_until=NOW)),
            [WAITS, RequeueAt(ahead(30))],
            id="its-answer-waits-for-a-pod-that-goes",
        ),
        pytest.param(
            on_hold(),
            seen(),
            [WAITS, RequeueAt(ENDS_AT)],
            id="it-waits-without-a-pod",
        ),
        pytest.param(
            on_hold(),
            seen(profile=None),
            [WAITS, RequeueAt(ENDS_AT)],
            id="it-waits-whatever-becomes-of-its-profile",
        ),
        pytest.param(on_hold(answers=1), seen(), NEXT, id="an-answer-begins-the-next-attempt"),
        pytest.param(
            on_hold(answers=1),
            seen(pod=a_finished_pod()),
            [WAITS, DELETE],
            id="which-waits-for-the-last-pod-to-be-gone",
        ),
        pytest.param(
            on_hold(answers=1, acknowledgedInput=1),
            seen(),
            NEXT,
            id="an-answer-that-is-not-in-the-snapshot-is-given-again",
        ),
        pytest.param(
            on_hold(answers=1, snapshot={**SNAPSHOT, "acknowledgedInput": 1}),
            seen(),
            [WAITS, RequeueAt(ENDS_AT)],
            id="an-answer-that-is-in-the-snapshot-is-not",
        ),
        pytest.param(
            on_hold(spec=cancelled()),
            seen(),
            [("Cancelled", "CancelRequested")],
            id="it-is-cancelled-at-once",
        ),
        pytest.param(
            on_hold().model_copy(
                update={
                    "status": on_hold().status.model_copy(update={"waiting_since": ago(86_400)})
                }
            ),
            seen(),
            [("Failed", "InputTimeout")],
            id="it-does-not-wait-for-ever",
        ),
        pytest.param(
            on_hold(answers=1).model_copy(
                update={
                    "status": on_hold().status.model_copy(update={"waiting_since": ago(86_401)})
                }
            ),
            seen(),
            NEXT,
            id="an-answer-that-came-in-time-counts-when-the-operator-was-away",
        ),
        pytest.param(
            on_hold(snapshot=None, snapshotError="It is too large."),
            seen(pod=a_finished_pod()),
            [("Failed", "SessionNotResumable")],
            id="without-a-snapshot-an-answer-would-find-nobody",
        ),
        pytest.param(
            a_waiting_run(snapshot=SNAPSHOT, outcome={**LEFT, "state": "Completed"}),
            seen(pod=a_finished_pod()),
            [("Completed", "Completed")],
            id="a-finished-turn-is-no-wait",
        ),
    ],
)
def test_a_waiting_run(run: AgentRun, observed: Observed, expected: list[Any]) -> None:
    assert told(decide(run, observed, TIMEOUTS, NOW)) == expected


@pytest.mark.parametrize(
    ("run", "observed", "expected"),
    [
        pytest.param(
            a_waiting_run(snapshot=SNAPSHOT),
            seen(pod=a_finished_pod(disruption=EVICTED)),
            [WAITS, DELETE, RequeueAt(ENDS_AT)],
            id="evicted",
        ),
        pytest.param(
            a_waiting_run(snapshot=SNAPSHOT), seen(), [WAITS, RequeueAt(ENDS_AT)], id="deleted"
        ),
        pytest.param(
            a_waiting_run(snapshot=SNAPSHOT, answers=1), seen(), NEXT, id="with-the-answer-there"
        ),
        pytest.param(
            a_waiting_run(snapshot=SNAPSHOT, answers=1, acknowledgedInput=1),
            seen(pod=a_finished_pod(disruption=EVICTED), others=()),
            [WAITS, DELETE],
            id="with-work-that-is-not-in-the-snapshot",
        ),
        pytest.param(
            a_waiting_run(snapshot=SNAPSHOT, answers=1, acknowledgedInput=1),
            seen(pod=a_finished_pod(runner=ended(1, "Error"))),
            [("Failed", "RunnerFailed")],
            id="a-fault-with-work-that-is-not-in-the-snapshot",
        ),
        pytest.param(a_waiting_run(), seen(), [("Failed", "PodDeleted")], id="without-a-snapshot"),
        pytest.param(
            a_waiting_run(snapshot=SNAPSHOT, snapshotError="lost"),
            seen(),
            [("Failed", "PodDeleted")],
            id="with-a-snapshot-that-does-not-count",
        ),
        pytest.param(
            a_waiting_run(spec={"retry": {"limit": 1}}),
            seen(),
            NEXT,
            id="without-a-snapshot-as-its-retries-say",
        ),
    ],
)
def test_a_pod_is_lost_while_its_run_waits(
    run: AgentRun, observed: Observed, expected: list[Any]
) -> None:
    assert told(decide(run, observed, TIMEOUTS, NOW)) == expected


def test_the_wait_timeout_keeps_counting_without_a_pod() -> None:
    status = status_of(decide(on_hold(), seen(pod=a_finished_pod()), TIMEOUTS, NOW))
    assert (status.phase, status.waiting_since, status.message) == (
        "InputRequired",
        ago(60),
        "Which?",
    )
    found = conditions_of(decide(on_hold(), seen(pod=a_finished_pod()), TIMEOUTS, NOW))
    assert found["PodTerminated"] == ("True", "Question")
    assert found["AgentReady"] == ("False", "Question")


def test_a_wait_for_credentials_stays_a_wait_for_credentials() -> None:
    run = on_hold(state="AuthRequired", question={"id": "q", "kind": "auth", "text": "Who?"})
    actions = decide(run, seen(pod=a_finished_pod()), TIMEOUTS, NOW)
    assert told(actions)[0] == ("AuthRequired", "AuthRequired")


def test_an_answered_wait_counts_as_a_continuation_and_its_time_as_waiting() -> None:
    status = status_of(decide(on_hold(answers=1), seen(), TIMEOUTS, NOW))
    assert (status.attempts, status.continuations) == (2, 1)
    assert (status.waiting_since, status.waited_seconds) == (None, 60)


def continued(attempts: int = 2, **more: Any) -> AgentRun:
    """Make a run whose second attempt goes on with an answer."""
    agent = {"attempt": 2, "state": "Working", "promptSent": True, "snapshot": SNAPSHOT, **more}
    status = {"attempts": attempts, "continuations": 1, "pod_name": "r-2", "agent": agent}
    return a_started_run(Phase.RUNNING, spec={"inputs": [INPUT]}, **status)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        pytest.param(continued(), NEXT, id="before-the-answer-was-given"),
        pytest.param(
            continued(3, attempt=3), [("Failed", "PodDeleted")], id="but-not-again-and-again"
        ),
        pytest.param(
            continued(acknowledgedInput=1), [("Failed", "PodDeleted")], id="after-it-was-given"
        ),
    ],
)
def test_a_continuation_that_is_lost_is_retried_once(run: AgentRun, expected: list[Any]) -> None:
    assert told(decide(run, seen(), TIMEOUTS, NOW)) == expected


def test_retries_count_losses_only() -> None:
    run = continued(acknowledgedInput=1)
    once = run.model_copy(update={"spec": a_run(spec={"retry": {"limit": 1}}).spec})
    assert told(decide(once, seen(), TIMEOUTS, NOW)) == NEXT
    again = once.model_copy(
        update={"status": once.status.model_copy(update={"attempts": 3, "pod_uid": "x"})}
    )
    assert told(decide(again, seen(), TIMEOUTS, NOW)) == [("Failed", "PodDeleted")]


@pytest.mark.parametrize("what", ["cancelled", "deleted"])
def test_children_are_cancelled_with_their_parent(what: str) -> None:
    message = f"The parent, run p, was {what}."
    actions = decide(a_started_run(), seen(pod=a_pod(), orphaned=message), TIMEOUTS, NOW)
    assert told(actions) == [("Cancelling", "CancelRequested"), DELETE]
    assert status_of(actions).message == message
    actions = decide(a_started_run(), seen(orphaned=message), TIMEOUTS, NOW)
    assert told(actions) == [("Cancelled", "CancelRequested")]


def test_a_finished_parent_is_kept_for_its_children() -> None:
    run = a_run(Phase.COMPLETED, completion_time=NOW - timedelta(days=8))
    free = a_session(held_by=None)
    assert decide(run, seen(session=free, has_live_children=True), TIMEOUTS, NOW) == []


def test_the_pod_of_a_long_wait_is_deleted() -> None:
    run = on_hold()
    kept = status_of(decide(run, seen(pod=a_pod()), TIMEOUTS, ago(40)))
    later_run = run.model_copy(update={"status": kept})
    actions = decide(later_run, seen(pod=a_pod(agent=RUNNING)), TIMEOUTS, NOW)
    assert DeletePod("r-1", a_pod().uid) in actions
