"""What the decisions write into the status."""

import pytest

from agentrun.api.v1alpha1 import AgentRun, Phase, Reason
from agentrun.controller.actions import (
    SetStatus,
)
from agentrun.controller.decide import decide
from agentrun.controller.observed import Observed
from tests.unit.controller.samples import (
    DONE,
    FRESH,
    NOW,
    POD_UID,
    RUNNING,
    TIMEOUTS,
    UID,
    WAITING,
    a_condition,
    a_failure,
    a_finished_pod,
    a_pending_pod,
    a_pod,
    a_run,
    a_session,
    a_started_run,
    ago,
    ahead,
    an_outcome,
    cancelled,
    conditions_of,
    seen,
    status_of,
    told,
)


def settled(run: AgentRun, observed: Observed) -> AgentRun:
    """Return the run with the status that deciding gives it."""
    return run.model_copy(update={"status": status_of(decide(run, observed, TIMEOUTS, NOW))})


@pytest.mark.parametrize(
    ("run", "observed"),
    [
        pytest.param(a_run(), seen(session=a_session(held_by="other")), id="queued"),
        pytest.param(a_run(), seen(profile=None), id="no-profile"),
        pytest.param(
            a_started_run(Phase.STARTING, **FRESH),
            seen(pod=a_pending_pod(failure=a_failure(Reason.UNSCHEDULABLE))),
            id="stuck",
        ),
        pytest.param(a_started_run(Phase.STARTING), seen(pod=a_pod()), id="working"),
        pytest.param(a_started_run(**WAITING), seen(pod=a_pod()), id="waiting"),
        pytest.param(a_started_run(**DONE), seen(pod=a_pod()), id="finishing"),
        pytest.param(
            a_started_run(spec=cancelled()),
            seen(pod=a_pod(terminating_until=ahead(5))),
            id="cancelling",
        ),
        pytest.param(a_started_run(), seen(pod=a_pod(terminating_until=ago(31))), id="node-lost"),
    ],
)
def test_a_status_is_written_once(run: AgentRun, observed: Observed) -> None:
    again = decide(settled(run, observed), observed, TIMEOUTS, ahead(1))
    assert not [action for action in again if isinstance(action, SetStatus)]


def test_only_writes_that_depend_on_a_read_check_the_resource_version() -> None:
    first = decide(a_run(), seen(), TIMEOUTS, NOW)[0]
    working = decide(a_started_run(Phase.STARTING), seen(pod=a_pod()), TIMEOUTS, NOW)[0]
    last = decide(a_started_run(**DONE), seen(pod=a_finished_pod()), TIMEOUTS, NOW)[0]
    assert [
        action.guarded for action in (first, working, last) if isinstance(action, SetStatus)
    ] == [
        True,
        False,
        True,
    ]


def test_an_attempt_is_recorded_with_its_pods_name_and_start() -> None:
    status = status_of(decide(a_run(), seen(), TIMEOUTS, NOW))
    assert (status.attempts, status.pod_name, status.start_time) == (1, "r-1", NOW)


def test_the_next_attempt_resets_the_status_but_keeps_the_start_time() -> None:
    run = a_started_run(
        Phase.STARTING,
        conditions=[a_condition("PodTerminated", "False", "Evicted", ago(5))],
        node_name="node-1",
        **FRESH,
    )
    status = status_of(decide(run, seen(), TIMEOUTS, NOW))
    assert (status.attempts, status.pod_name, status.pod_uid) == (2, "r-2", None)
    assert (status.node_name, status.conditions, status.start_time) == (None, [], ago(10))


def test_a_pod_is_recorded_as_soon_as_it_is_observed() -> None:
    run = a_run(Phase.QUEUED, attempts=1, start_time=ago(1))
    status = status_of(decide(run, seen(pod=a_pending_pod()), TIMEOUTS, NOW))
    assert (status.pod_name, status.pod_uid, status.node_name) == ("r-1", POD_UID, "node-1")


def test_a_pod_without_a_node_is_not_scheduled() -> None:
    run = a_run(Phase.QUEUED, attempts=1, start_time=ago(1))
    actions = decide(run, seen(pod=a_pending_pod(node="")), TIMEOUTS, NOW)
    assert conditions_of(actions) == {"PodScheduled": ("False", "Pending")}
    assert status_of(actions).node_name is None


def test_the_agent_is_ready_once_the_prompt_was_sent() -> None:
    actions = decide(a_started_run(Phase.STARTING), seen(pod=a_pod()), TIMEOUTS, NOW)
    assert conditions_of(actions)["AgentReady"] == ("True", "Working")


def test_a_transient_error_leaves_the_agent_not_ready() -> None:
    run = a_started_run(
        Phase.STARTING,
        conditions=[a_condition("AgentReady", "False", "ImagePullFailed", ago(9))],
        **FRESH,
    )
    actions = decide(run, seen(pod=a_pod()), TIMEOUTS, NOW)
    assert conditions_of(actions)["AgentReady"] == ("Unknown", "PodPending")


def test_waiting_is_counted_when_it_ends() -> None:
    run = a_started_run(Phase.INPUT_REQUIRED, waiting_since=ago(40), waited_seconds=2)
    status = status_of(decide(run, seen(pod=a_pod()), TIMEOUTS, NOW))
    assert (status.phase, status.waiting_since, status.waited_seconds) == ("Running", None, 42)


def test_waiting_begins_with_the_question() -> None:
    run = a_started_run(
        agent={"state": "InputRequired", "question": {"id": "q", "text": "Which one?"}}
    )
    status = status_of(decide(run, seen(pod=a_pod()), TIMEOUTS, NOW))
    assert (status.waiting_since, status.message) == (NOW, "Which one?")


def test_a_completed_run_has_its_result() -> None:
    run = a_started_run(agent={"outcome": an_outcome(result={"summary": "Fixed.", "commit": "c0"})})
    status = status_of(decide(run, seen(pod=a_finished_pod()), TIMEOUTS, NOW))
    assert (status.result.summary, status.result.commit) == ("Fixed.", "c0")
    assert (status.completion_time, status.cancelled_at) == (NOW, None)


def test_the_result_of_another_attempt_is_ignored() -> None:
    run = a_started_run(agent={"outcome": an_outcome(attempt=2, result={"summary": "Fixed."})})
    assert status_of(decide(run, seen(pod=a_finished_pod()), TIMEOUTS, NOW)).result is None


def test_a_cancelled_run_records_when_its_last_process_ended() -> None:
    run = a_started_run(Phase.CANCELLING, spec=cancelled())
    actions = decide(run, seen(), TIMEOUTS, NOW)
    assert status_of(actions).cancelled_at == NOW
    assert conditions_of(actions) == {
        "CancelRequested": ("True", "CancelRequested"),
        "PodTerminated": ("True", "CancelRequested"),
        "Finished": ("True", "Cancelled"),
    }


def test_who_cancelled_and_why_is_reported() -> None:
    spec = cancelled(cancellation={"requestedBy": "jo", "reason": "Wrong branch"})
    status = status_of(decide(a_run(spec=spec), seen(), TIMEOUTS, NOW))
    assert status.message == "Cancellation was requested by jo: Wrong branch"


def test_pod_terminated_is_unknown_after_a_lost_node() -> None:
    run = a_started_run(Phase.CANCELLING, spec=cancelled())
    actions = decide(run, seen(pod=a_pod(terminating_until=ago(30))), TIMEOUTS, NOW)
    assert conditions_of(actions)["PodTerminated"] == ("Unknown", "NodeLost")
    assert conditions_of(actions)["CancelRequested"] == ("True", "CancelRequested")


def test_a_replaced_profile_does_not_undo_a_finished_turn() -> None:
    assert told(decide(a_started_run(**DONE), seen(profile=None), TIMEOUTS, NOW)) == [
        ("Completed", "Completed")
    ]


def test_the_message_of_a_pending_pod_describes_what_the_kubelet_does() -> None:
    run = a_run(Phase.QUEUED, attempts=1, start_time=ago(1))
    pod = a_pending_pod(waiting_for='Pulling image "x"')
    assert status_of(decide(run, seen(pod=pod), TIMEOUTS, NOW)).message == 'Pulling image "x"'


def test_the_status_has_the_observed_generation_of_its_decision() -> None:
    run = a_started_run(Phase.STARTING, meta={"generation": 4})
    assert status_of(decide(run, seen(pod=a_pod()), TIMEOUTS, NOW)).observed_generation == 4


def test_a_session_holder_is_identified_by_uid_not_by_name() -> None:
    session = a_session(held_by="another-uid")
    assert not session.is_held_by(UID)
    assert session.is_held_by("another-uid")


def test_a_running_container_has_not_ended() -> None:
    assert not RUNNING.is_over
