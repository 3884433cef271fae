"""Deciding about runs that begin and work: a row for every rule."""

from typing import Any

import pytest

from agentrun.api.v1alpha1 import AgentRun, Phase, Reason
from agentrun.controller.actions import (
    AcquireSession,
    CreatePod,
    CreateSession,
    ReleaseSession,
    RequeueAt,
)
from agentrun.controller.decide import decide
from agentrun.controller.observed import ContainerObservation, Failure, Observed, WaitClass
from tests.unit.controller.samples import (
    DELETE,
    FRESH,
    NOW,
    RESUMES,
    TIMEOUTS,
    WAITING,
    a_condition,
    a_failure,
    a_finished_pod,
    a_pending_pod,
    a_pod,
    a_profile,
    a_run,
    a_session,
    a_started_run,
    ago,
    ahead,
    on_a_node,
    seen,
    told,
)


@pytest.mark.parametrize(
    ("run", "observed", "expected"),
    [
        pytest.param(
            a_run(),
            seen(session=a_session(exists=False, held_by=None)),
            [CreateSession("r", "codex")],
            id="a-new-run-gets-a-session",
        ),
        pytest.param(
            a_run(),
            seen(session=a_session(held_by=None)),
            [AcquireSession("r", "3")],
            id="a-run-takes-a-free-session",
        ),
        pytest.param(
            a_run(),
            seen(session=a_session(held_by="other", holder_is_over=True)),
            [ReleaseSession("r", "3")],
            id="a-run-sees-that-one-that-is-over-leaves-their-session",
        ),
        pytest.param(
            a_run(),
            seen(session=a_session(held_by="other")),
            [("Queued", "SessionBusy")],
            id="a-run-waits-for-the-holder-of-its-session",
        ),
        pytest.param(
            a_run(),
            seen(session=a_session(held_by=None, first_in_line="q")),
            [("Queued", "SessionBusy")],
            id="runs-wait-for-their-session-in-the-order-of-their-names",
        ),
        pytest.param(
            a_run(),
            seen(),
            [("Queued", "Accepted"), CreatePod()],
            id="the-attempt-is-counted-before-its-pod-is-created",
        ),
        pytest.param(
            a_run(Phase.QUEUED, attempts=1, start_time=ago(1)),
            seen(),
            [CreatePod()],
            id="a-counted-attempt-without-a-pod-gets-it",
        ),
        pytest.param(
            a_run(Phase.QUEUED, attempts=2, start_time=ago(1)),
            seen(others=(a_finished_pod(),)),
            [DELETE, RequeueAt(ahead(4 * 3600 - 1))],
            id="the-next-pod-waits-for-the-last-to-be-gone",
        ),
        pytest.param(
            a_run(Phase.QUEUED, attempts=2, start_time=ago(1)),
            seen(others=(a_finished_pod(terminating_until=NOW),)),
            [RequeueAt(ahead(30)), RequeueAt(ahead(4 * 3600 - 1))],
            id="a-pod-that-goes-is-not-deleted-twice",
        ),
        pytest.param(
            a_run(Phase.QUEUED, attempts=2, start_time=ago(1)),
            seen(others=(a_finished_pod(terminating_until=ago(30)),)),
            [CreatePod()],
            id="the-next-pod-does-not-wait-for-one-that-only-a-finalizer-keeps",
        ),
    ],
)
def test_how_a_run_starts(run: AgentRun, observed: Observed, expected: list[Any]) -> None:
    assert told(decide(run, observed, TIMEOUTS, NOW)) == expected


@pytest.mark.parametrize(
    ("run", "observed", "expected"),
    [
        pytest.param(
            a_run(),
            seen(profile=None),
            [("Queued", "ProfileNotFound"), RequeueAt(ahead(60))],
            id="a-missing-profile-is-named-at-once",
        ),
        pytest.param(
            a_run(
                Phase.QUEUED,
                conditions=[a_condition("AgentReady", "False", "ProfileNotFound", ago(60))],
            ),
            seen(profile=None),
            [("Failed", "ProfileNotFound")],
            id="a-profile-that-stays-missing-fails-the-run",
        ),
        pytest.param(
            a_run(spec={"model": "m2"}),
            seen(profile=a_profile(models={"allowed": ["m1"]})),
            [("Failed", "ProfileRefused")],
            id="a-model-that-the-profile-does-not-allow",
        ),
        pytest.param(
            a_run(spec={"workspace": {"volume": "v"}}),
            seen(),
            [("Failed", "ProfileRefused")],
            id="a-volume-that-the-profile-does-not-allow",
        ),
        pytest.param(
            a_run(),
            seen(profile=a_profile(backend="gemini")),
            [("Failed", "ProfileRefused")],
            id="a-profile-of-another-backend",
        ),
        pytest.param(
            a_run(spec={"backend": "acp"}),
            seen(profile=a_profile(backend="acp"), session=a_session(backend="acp")),
            [("Failed", "ProfileRefused")],
            id="a-profile-without-the-command-its-backend-needs",
        ),
        pytest.param(
            a_run(meta={"name": "r" * 53}),
            seen(),
            [("Failed", "PodRejected")],
            id="a-name-that-is-too-long",
        ),
        pytest.param(
            a_run(spec=RESUMES),
            seen(session=a_session(exists=False, held_by=None)),
            [("Failed", "SessionNotFound")],
            id="a-session-to-resume-that-does-not-exist",
        ),
        pytest.param(
            a_run(spec=RESUMES),
            seen(),
            [("Failed", "SessionNotResumable")],
            id="a-session-to-resume-that-holds-no-conversation",
        ),
        pytest.param(
            a_run(spec=RESUMES),
            seen(session=a_session(held_by="other")),
            [("Queued", "SessionBusy")],
            id="a-busy-session-may-hold-a-conversation-later",
        ),
        pytest.param(
            a_run(spec=RESUMES),
            seen(session=a_session(has_snapshot=True)),
            [("Queued", "Accepted"), CreatePod()],
            id="a-session-with-a-snapshot-is-resumed",
        ),
        pytest.param(
            a_run(),
            seen(session=a_session(backend="gemini")),
            [("Failed", "SessionNotResumable")],
            id="a-session-of-another-backend",
        ),
    ],
)
def test_what_keeps_a_run_from_starting(
    run: AgentRun, observed: Observed, expected: list[Any]
) -> None:
    assert told(decide(run, observed, TIMEOUTS, NOW)) == expected


@pytest.mark.parametrize(
    ("run", "rejection", "expected"),
    [
        pytest.param(
            a_run(Phase.QUEUED, attempts=1, start_time=ago(1)),
            a_failure(Reason.QUOTA_EXCEEDED),
            [("Queued", "QuotaExceeded"), RequeueAt(ahead(60))],
            id="a-refused-pod-is-told-at-once",
        ),
        pytest.param(
            a_run(
                Phase.QUEUED,
                attempts=1,
                start_time=ago(99),
                conditions=[a_condition("AgentReady", "False", "QuotaExceeded", ago(60))],
            ),
            a_failure(Reason.POD_REJECTED),
            [("Failed", "PodRejected")],
            id="a-pod-that-stays-refused-fails-the-run",
        ),
        pytest.param(
            a_run(Phase.QUEUED, attempts=1, start_time=ago(1)),
            a_failure(Reason.POD_NAME_TAKEN, wait_class=WaitClass.NONE),
            [("Failed", "PodNameTaken")],
            id="a-name-that-is-taken-fails-the-run-at-once",
        ),
    ],
)
def test_what_becomes_of_a_run_whose_pod_is_refused(
    run: AgentRun, rejection: Failure, expected: list[Any]
) -> None:
    assert told(decide(run, seen(), TIMEOUTS, NOW, rejection)) == expected


@pytest.mark.parametrize(
    ("run", "observed", "expected"),
    [
        pytest.param(
            a_run(Phase.QUEUED, attempts=1, start_time=ago(10)),
            seen(pod=a_pending_pod()),
            [("Starting", "PodPending"), RequeueAt(ahead(300))],
            id="a-pod-was-created",
        ),
        pytest.param(
            a_started_run(Phase.STARTING, **FRESH),
            seen(pod=a_pending_pod(node="")),
            [("Starting", "PodPending"), RequeueAt(ahead(590))],
            id="a-pod-without-a-node-is-waited-for",
        ),
        pytest.param(
            a_started_run(Phase.STARTING, **FRESH),
            seen(pod=a_pending_pod(node="", created=ago(600))),
            [("Cancelling", "Unschedulable"), DELETE],
            id="a-pod-that-no-scheduler-looks-at-is-deleted",
        ),
        pytest.param(
            a_started_run(Phase.STARTING, **FRESH),
            seen(
                pod=a_pending_pod(
                    node="", failure=a_failure(Reason.UNSCHEDULABLE, wait_class=WaitClass.ROOM)
                )
            ),
            [("Starting", "Unschedulable"), RequeueAt(ahead(600))],
            id="room-is-waited-for-longer",
        ),
        pytest.param(
            a_started_run(agent={"state": "Preparing"}),
            seen(pod=a_pod()),
            [("Starting", "Preparing"), RequeueAt(ahead(4 * 3600 - 10))],
            id="the-workspace-is-prepared",
        ),
        pytest.param(
            a_started_run(Phase.STARTING, **FRESH),
            seen(pod=a_pending_pod(failure=a_failure(Reason.IMAGE_PULL_FAILED))),
            [("Starting", "ImagePullFailed"), RequeueAt(ahead(60))],
            id="a-pod-that-cannot-start-names-the-error-at-once",
        ),
        pytest.param(
            a_started_run(
                Phase.STARTING,
                conditions=[a_condition("AgentReady", "False", "ImagePullFailed", ago(60))],
                **FRESH,
            ),
            seen(pod=a_pending_pod(failure=a_failure(Reason.IMAGE_PULL_FAILED))),
            [("Cancelling", "ImagePullFailed"), DELETE],
            id="a-pod-that-stays-stuck-is-deleted",
        ),
        pytest.param(
            a_started_run(Phase.STARTING, conditions=[on_a_node(ago(300))], **FRESH),
            seen(pod=a_pending_pod()),
            [("Cancelling", "StartTimeout"), DELETE],
            id="a-pod-whose-containers-never-start-is-deleted",
        ),
        pytest.param(
            a_started_run(
                Phase.STARTING, conditions=[on_a_node(ago(300))], agent={"state": "Preparing"}
            ),
            seen(pod=a_pod(agent=ContainerObservation())),
            [("Cancelling", "StartTimeout"), DELETE],
            id="an-agent-that-never-starts-beside-its-runner",
        ),
        pytest.param(
            a_started_run(Phase.STARTING, conditions=[on_a_node(ago(300))], **FRESH),
            seen(pod=a_pod()),
            [("Starting", "PodPending"), RequeueAt(ahead(630))],
            id="a-runner-has-time-to-say-that-the-gateway-is-away",
        ),
        pytest.param(
            a_started_run(Phase.STARTING, conditions=[on_a_node(ago(930))], **FRESH),
            seen(pod=a_pod()),
            [("Cancelling", "StartTimeout"), DELETE],
            id="a-pod-whose-runner-never-reports-is-deleted",
        ),
        pytest.param(
            a_started_run(Phase.STARTING, conditions=[on_a_node(ago(9))], **FRESH),
            seen(pod=a_pending_pod(created=ago(9e6))),
            [("Starting", "PodPending"), RequeueAt(ahead(291))],
            id="a-pod-that-waited-long-for-its-node-has-time-to-start",
        ),
    ],
)
def test_how_a_pod_starts(run: AgentRun, observed: Observed, expected: list[Any]) -> None:
    assert told(decide(run, observed, TIMEOUTS, NOW)) == expected


@pytest.mark.parametrize(
    ("run", "observed", "expected"),
    [
        pytest.param(
            a_started_run(Phase.STARTING),
            seen(pod=a_pod()),
            [("Running", "Working"), RequeueAt(ahead(4 * 3600 - 10))],
            id="the-agent-works",
        ),
        pytest.param(
            a_started_run(**WAITING),
            seen(pod=a_pod()),
            [("InputRequired", "Question"), RequeueAt(ahead(4 * 3600 - 10))],
            id="the-agent-asks",
        ),
        pytest.param(
            a_started_run(agent={"state": "AuthRequired", "promptSent": True}),
            seen(pod=a_pod()),
            [("AuthRequired", "AuthRequired"), RequeueAt(ahead(4 * 3600 - 10))],
            id="the-agent-needs-credentials",
        ),
        pytest.param(
            a_started_run(agent={"state": "Finished", "promptSent": True}),
            seen(pod=a_pod()),
            [("Running", "Finishing"), RequeueAt(ahead(4 * 3600 - 10))],
            id="the-agent-has-finished-and-its-outcome-is-on-its-way",
        ),
        pytest.param(
            a_run(
                Phase.QUEUED,
                attempts=2,
                start_time=ago(10),
                agent={"attempt": 1, "state": "Working", "promptSent": True},
            ),
            seen(pod=a_pending_pod(name="r-2")),
            [("Starting", "PodPending"), RequeueAt(ahead(300))],
            id="what-the-last-attempt-said-is-not-said-by-the-next",
        ),
    ],
)
def test_how_a_working_agent_is_handled(
    run: AgentRun, observed: Observed, expected: list[Any]
) -> None:
    assert told(decide(run, observed, TIMEOUTS, NOW)) == expected
