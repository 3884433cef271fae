"""Deciding about runs that end: a row for every rule."""

from typing import Any

import pytest

from agentrun.api.v1alpha1 import AgentRun, Phase, Reason
from agentrun.controller.actions import (
    CreatePod,
    DeletePod,
    RequeueAt,
)
from agentrun.controller.decide import decide
from agentrun.controller.observed import Observed
from tests.unit.controller.samples import (
    DELETE,
    DONE,
    FRESH,
    NOW,
    POD_UID,
    TIMEOUTS,
    WAITING,
    a_condition,
    a_failure,
    a_finished_pod,
    a_pod,
    a_profile,
    a_run,
    a_session,
    a_started_run,
    ago,
    ahead,
    an_outcome,
    cancelled,
    ended,
    not_ready,
    outcome,
    seen,
    told,
)


@pytest.mark.parametrize(
    ("run", "observed", "expected"),
    [
        pytest.param(
            a_started_run(**DONE),
            seen(pod=a_pod()),
            [("Running", "Finishing"), RequeueAt(ahead(30))],
            id="a-finished-turn-waits-for-its-pod",
        ),
        pytest.param(
            a_started_run(
                conditions=[a_condition("PodTerminated", "False", "Finishing", ago(30))], **DONE
            ),
            seen(pod=a_pod()),
            [("Running", "Finishing"), DELETE],
            id="a-pod-that-stays-after-its-turn-is-deleted",
        ),
        pytest.param(
            a_started_run(**DONE),
            seen(pod=a_pod(terminating_until=ahead(5))),
            [("Running", "Finishing"), RequeueAt(ahead(35))],
            id="a-pod-that-goes-after-its-turn-is-waited-for",
        ),
        pytest.param(
            a_started_run(**DONE),
            seen(pod=a_finished_pod()),
            [("Completed", "Completed")],
            id="a-finished-turn-and-a-finished-pod-complete-the-run",
        ),
        pytest.param(
            a_started_run(**DONE),
            seen(),
            [("Completed", "Completed")],
            id="a-finished-turn-whose-pod-is-gone-completes-the-run",
        ),
        pytest.param(
            a_started_run(),
            seen(pod=a_finished_pod(outcome=outcome())),
            [("Completed", "Completed")],
            id="the-termination-message-stands-in-for-the-gateway",
        ),
        pytest.param(
            a_started_run(agent={"outcome": an_outcome("Failed", reason="ProviderError")}),
            seen(pod=a_finished_pod()),
            [("Failed", "ProviderError")],
            id="the-runner-says-that-the-run-failed",
        ),
        pytest.param(
            a_started_run(agent={"outcome": an_outcome("Rejected")}),
            seen(pod=a_finished_pod()),
            [("Rejected", "Refused")],
            id="the-agent-declined",
        ),
        pytest.param(
            a_started_run(**DONE),
            seen(pod=a_finished_pod(agent=ended(0, "OOMKilled"))),
            [("Completed", "Completed")],
            id="a-tool-out-of-memory-does-not-undo-a-finished-turn",
        ),
        pytest.param(
            a_started_run(),
            seen(pod=a_finished_pod(agent=ended(137, "OOMKilled"), runner=ended(1, "Error"))),
            [("Failed", "OutOfMemory")],
            id="a-container-out-of-memory",
        ),
        pytest.param(
            a_started_run(agent={"outcome": an_outcome("Failed", reason="AgentExited")}),
            seen(pod=a_finished_pod(agent=ended(0, "OOMKilled"))),
            [("Failed", "OutOfMemory")],
            id="memory-is-why-the-agent-exited",
        ),
        pytest.param(
            a_started_run(),
            seen(pod=a_finished_pod(runner=ended(1, "Error", message="no gateway"))),
            [("Failed", "RunnerFailed")],
            id="a-runner-that-left-no-outcome",
        ),
        pytest.param(
            a_started_run(**FRESH),
            seen(pod=a_finished_pod(agent=ended(128, "StartError"))),
            [("Failed", "ContainerStartFailed")],
            id="an-agent-that-could-not-be-started",
        ),
        pytest.param(
            a_started_run(**not_ready(ago(30))),
            seen(pod=a_pod(runner=ended(1, "Error"))),
            [("Cancelling", "RunnerFailed"), DELETE],
            id="an-agent-does-not-outlive-its-runner",
        ),
        pytest.param(
            a_started_run(),
            seen(pod=a_pod(runner=ended(1, "Error", at=ago(9e6)))),
            [("Running", "Working"), RequeueAt(ahead(30))],
            id="the-nodes-clock-does-not-count",
        ),
        pytest.param(
            a_started_run(**not_ready(ago(930))),
            seen(pod=a_pod(agent=ended(1, "Error"))),
            [("Cancelling", "AgentExited"), DELETE],
            id="a-runner-does-not-outlive-its-agent-for-ever",
        ),
        pytest.param(
            a_started_run(**not_ready(ago(30))),
            seen(pod=a_pod(agent=ended(1, "Error"))),
            [("Running", "Working"), RequeueAt(ahead(900))],
            id="a-runner-without-its-agent-has-time-to-ship",
        ),
        pytest.param(
            a_started_run(agent={"state": "Preparing"}, **not_ready(ago(300))),
            seen(pod=a_pod(agent=ended(126, "Error"))),
            [("Cancelling", "AgentExited"), DELETE],
            id="a-runner-whose-agent-ended-before-its-task-has-little-to-ship",
        ),
        pytest.param(
            a_started_run(start_time=ago(4 * 3600)),
            seen(pod=a_pod()),
            [("Cancelling", "DeadlineExceeded"), DELETE],
            id="a-run-works-no-longer-than-its-deadline",
        ),
        pytest.param(
            a_started_run(start_time=ago(100), spec={"timeouts": {"activeDeadlineSeconds": 500}}),
            seen(pod=a_pod(), profile=a_profile(timeouts={"activeDeadlineSeconds": 100})),
            [("Cancelling", "DeadlineExceeded"), DELETE],
            id="a-run-gets-no-more-than-its-profile-grants",
        ),
        pytest.param(
            a_started_run(start_time=ago(100), spec={"timeouts": {"activeDeadlineSeconds": 100}}),
            seen(pod=a_pod(), profile=a_profile(timeouts={"activeDeadlineSeconds": 500})),
            [("Cancelling", "DeadlineExceeded"), DELETE],
            id="a-run-gets-no-more-than-it-asked-for",
        ),
        pytest.param(
            a_started_run(start_time=ago(4 * 3600), waited_seconds=100),
            seen(pod=a_pod()),
            [("Running", "Working"), RequeueAt(ahead(100))],
            id="time-spent-waiting-does-not-count",
        ),
        pytest.param(
            a_started_run(
                Phase.INPUT_REQUIRED, start_time=ago(9e6), waiting_since=ago(86_400), **WAITING
            ),
            seen(pod=a_pod()),
            [("Cancelling", "InputTimeout"), DELETE],
            id="a-question-that-nobody-answers",
        ),
        pytest.param(
            a_started_run(start_time=ago(4 * 3600), **DONE),
            seen(pod=a_finished_pod()),
            [("Completed", "Completed")],
            id="a-turn-that-was-finished-has-no-deadline",
        ),
        pytest.param(
            a_started_run(
                Phase.CANCELLING,
                conditions=[a_condition("CancelRequested", "True", "DeadlineExceeded", ago(5))],
                **DONE,
            ),
            seen(),
            [("Failed", "DeadlineExceeded")],
            id="a-run-that-is-being-stopped-stays-stopped",
        ),
        pytest.param(
            a_started_run(spec=cancelled()),
            seen(pod=a_finished_pod(terminating_until=ago(29))),
            [("Cancelling", "CancelRequested"), RequeueAt(ahead(1))],
            id="a-stopped-run-waits-for-its-pod-to-be-gone",
        ),
        pytest.param(
            a_started_run(spec=cancelled()),
            seen(pod=a_finished_pod(terminating_until=ago(30))),
            [("Cancelled", "CancelRequested")],
            id="a-stopped-run-does-not-wait-for-a-pod-that-only-a-finalizer-keeps",
        ),
    ],
)
def test_how_a_run_ends(run: AgentRun, observed: Observed, expected: list[Any]) -> None:
    assert told(decide(run, observed, TIMEOUTS, NOW)) == expected


@pytest.mark.parametrize(
    ("run", "observed", "expected"),
    [
        pytest.param(
            a_started_run(Phase.STARTING, **FRESH),
            seen(),
            [("Queued", "Accepted"), CreatePod()],
            id="a-lost-pod-is-replaced-before-the-prompt-was-sent",
        ),
        pytest.param(
            a_started_run(),
            seen(),
            [("Failed", "PodDeleted")],
            id="a-lost-pod-is-not-replaced-once-the-prompt-was-sent",
        ),
        pytest.param(
            a_started_run(spec={"retry": {"limit": 1}}),
            seen(),
            [("Queued", "Accepted"), CreatePod()],
            id="a-lost-pod-is-replaced-as-the-spec-says",
        ),
        pytest.param(
            a_started_run(Phase.STARTING, **FRESH),
            seen(
                pod=a_finished_pod(disruption=a_failure(Reason.EVICTED), terminating_until=ago(30))
            ),
            [("Queued", "Accepted"), CreatePod()],
            id="a-lost-pod-that-only-a-finalizer-keeps-is-replaced",
        ),
        pytest.param(
            a_started_run(attempts=2, spec={"retry": {"limit": 1}}),
            seen(),
            [("Failed", "PodDeleted")],
            id="a-lost-pod-is-replaced-no-more-often-than-the-spec-says",
        ),
        pytest.param(
            a_started_run(**FRESH, spec={"retry": {"limit": 0}}),
            seen(),
            [("Failed", "PodDeleted")],
            id="a-spec-may-forbid-replacement",
        ),
        pytest.param(
            a_started_run(Phase.STARTING, **FRESH),
            seen(pod=a_finished_pod(disruption=a_failure(Reason.EVICTED))),
            [("Starting", None), DELETE],
            id="an-evicted-pod-is-deleted-before-the-next",
        ),
        pytest.param(
            a_started_run(agent={"promptSent": True, "outcome": an_outcome("Failed")}),
            seen(pod=a_finished_pod(disruption=a_failure(Reason.EVICTED))),
            [("Failed", "Evicted")],
            id="an-eviction-explains-the-runners-failure",
        ),
        pytest.param(
            a_started_run(**DONE),
            seen(pod=a_finished_pod(disruption=a_failure(Reason.EVICTED))),
            [("Completed", "Completed")],
            id="an-eviction-does-not-undo-a-finished-turn",
        ),
        pytest.param(
            a_started_run(
                conditions=[a_condition("PodTerminated", "False", "Evicted", ago(5), "drained")]
            ),
            seen(),
            [("Failed", "Evicted")],
            id="why-a-pod-went-is-remembered",
        ),
        pytest.param(
            a_started_run(agent={"promptSent": True, "outcome": an_outcome("Interrupted")}),
            seen(pod=a_finished_pod()),
            [("Failed", "PodDeleted")],
            id="an-interrupted-attempt-is-a-lost-pod",
        ),
        pytest.param(
            a_run(Phase.QUEUED, attempts=1, start_time=ago(9), agent={"state": "Preparing"}),
            seen(),
            [("Queued", "Accepted"), CreatePod()],
            id="a-pod-whose-runner-spoke-has-existed",
        ),
        pytest.param(
            a_started_run(),
            seen(pod=a_pod(terminating_until=ahead(5))),
            [("Running", "PodDeleted"), RequeueAt(ahead(35)), RequeueAt(ahead(4 * 3600 - 10))],
            id="a-pod-that-somebody-deletes-is-watched-going",
        ),
        pytest.param(
            a_started_run(),
            seen(pod=a_pod(terminating_until=ago(30))),
            [("Running", "NodeLost"), RequeueAt(ahead(4 * 3600 - 10))],
            id="a-pod-that-does-not-go-is-on-a-lost-node",
        ),
    ],
)
def test_how_a_lost_pod_is_handled(run: AgentRun, observed: Observed, expected: list[Any]) -> None:
    assert told(decide(run, observed, TIMEOUTS, NOW)) == expected


@pytest.mark.parametrize(
    ("run", "observed", "expected"),
    [
        pytest.param(
            a_run(spec=cancelled()),
            seen(session=a_session(exists=False, held_by=None)),
            [("Cancelled", "CancelRequested")],
            id="a-run-without-a-pod-is-cancelled-at-once",
        ),
        pytest.param(
            a_run(Phase.QUEUED, attempts=1, start_time=ago(1), spec=cancelled()),
            seen(),
            [("Cancelled", "CancelRequested")],
            id="a-run-is-cancelled-before-its-pod-is-created",
        ),
        pytest.param(
            a_started_run(spec=cancelled()),
            seen(pod=a_pod()),
            [("Cancelling", "CancelRequested"), DELETE],
            id="cancelling-deletes-the-pod",
        ),
        pytest.param(
            a_started_run(spec=cancelled()),
            seen(pod=a_pod(terminating_until=ahead(30))),
            [("Cancelling", "CancelRequested"), RequeueAt(ahead(60))],
            id="cancelling-waits-for-the-pod-to-be-gone",
        ),
        pytest.param(
            a_started_run(spec=cancelled(), **DONE),
            seen(pod=a_finished_pod()),
            [("Cancelling", "CancelRequested"), DELETE],
            id="a-cancel-is-stronger-than-a-finished-turn",
        ),
        pytest.param(
            a_started_run(Phase.CANCELLING, spec=cancelled()),
            seen(),
            [("Cancelled", "CancelRequested")],
            id="a-run-is-cancelled-only-when-its-pod-is-gone",
        ),
        pytest.param(
            a_started_run(Phase.CANCELLING, spec=cancelled()),
            seen(pod=a_pod(terminating_until=ago(30))),
            [("Cancelling", "NodeLost")],
            id="nobody-knows-what-runs-on-a-lost-node",
        ),
        pytest.param(
            a_started_run(Phase.CANCELLING, spec=cancelled()),
            seen(others=(a_pod(name="r-0"),)),
            [("Cancelling", "CancelRequested"), DeletePod("r-0", POD_UID)],
            id="cancelling-deletes-the-pods-of-all-attempts",
        ),
        pytest.param(
            a_started_run(
                Phase.CANCELLING,
                spec=cancelled(),
                conditions=[a_condition("CancelRequested", "True", "DeadlineExceeded", ago(5))],
            ),
            seen(),
            [("Cancelled", "CancelRequested")],
            id="a-cancel-is-stronger-than-a-deadline",
        ),
        pytest.param(
            a_started_run(meta={"deletionTimestamp": "2026-11-23T11:59:00Z"}),
            seen(pod=a_pod()),
            [("Cancelling", "Deleted"), DELETE],
            id="deleting-a-live-run-cancels-it",
        ),
        pytest.param(
            a_started_run(Phase.CANCELLING, meta={"deletionTimestamp": "2026-11-23T11:59:00Z"}),
            seen(),
            [("Cancelled", "Deleted")],
            id="a-deleted-run-ends-cancelled",
        ),
    ],
)
def test_how_a_run_is_cancelled(run: AgentRun, observed: Observed, expected: list[Any]) -> None:
    assert told(decide(run, observed, TIMEOUTS, NOW)) == expected
