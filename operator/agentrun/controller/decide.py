"""
The decisions of a reconcile.

``decide`` compares the desired state of a run with the observed state and returns the actions that
move the one towards the other. It is a pure function: it reads no clock, calls no API and stores
no state, so the same observation always yields the same actions. The rules are evaluated in order,
and the first that applies wins.

A run becomes terminal only when nothing of its pod runs: a run that ends by itself when the
containers of its pod have terminated, a run that is stopped when the pod itself is gone.
"""

from datetime import datetime
from typing import Any

from agentrun.api.names import pod_name
from agentrun.api.v1alpha1 import (
    AgentRun,
    AgentRunStatus,
    ConditionType,
    Phase,
    Reason,
)
from agentrun.controller.actions import (
    AcquireSession,
    Action,
    CreatePod,
    CreateSession,
    DeletePod,
    DeleteRun,
    ReleaseSession,
    RequeueAt,
    SetStatus,
)
from agentrun.controller.deadlines import Deadline, deadlines_of, unreachable_at
from agentrun.controller.endings import (
    Ending,
    ending_of,
    fault_of,
    has_ended,
    has_pending_input,
    has_unsaved_progress,
    is_waiting_outcome,
    not_resumable_ending,
    outcome_of,
    remote_task_message,
    waiting_phase,
    waits_without_pod,
    with_remote_task,
)
from agentrun.controller.observed import Failure, Observed, PodObservation, seconds_after
from agentrun.controller.status import (
    agent_of,
    condition_of,
    in_phase,
    phase_of,
    with_condition,
)
from agentrun.controller.timeouts import timeouts_of
from agentrun.controller.validation import validation_failure

_CANCELS = frozenset({Reason.CANCEL_REQUESTED, Reason.DELETED})


def decide(run: AgentRun, observed: Observed, now: datetime) -> list[Action]:
    """Return the actions that move ``run`` towards its spec."""
    if run.phase.is_terminal:
        return _after_the_end(run, observed, now)
    # Once there was a pod, its outcome decides, even if the profile is now invalid or gone.
    is_past = observed.pod is None and _had_a_pod(run)
    outcome = outcome_of(run, observed.pod)
    is_known = is_past or has_ended(outcome) or is_waiting_outcome(outcome)
    failure = None if is_known else validation_failure(run, observed)
    bounds = deadlines_of(run, observed, failure, now)
    stop = _stop_request(run, observed, now) or next((one for one in bounds if one.at <= now), None)
    if stop is not None:
        return _stop(run, observed, stop, now)
    ahead: list[Action] = [RequeueAt(min(one.at for one in bounds))] if bounds else []
    if failure is not None:
        return _wait_for_recovery(run, observed, failure, now) + ahead
    if run.attempts == 0:
        return _acquire_session(run, observed, now)
    if is_past or (observed.pod is not None and observed.pod.finished):
        return _conclude_attempt(run, observed, now, ahead)
    if observed.pod is None:
        return _create_pod(observed, now, ahead)
    return _report_progress(run, observed, observed.pod, now) + ahead


def _stop_request(run: AgentRun, observed: Observed, now: datetime) -> Deadline | None:
    """Return the reason to stop ``run`` now: a request, or an earlier decision; None if none."""
    if run.is_cancel_requested:
        return Deadline(now, Reason.CANCEL_REQUESTED, _cancellation(run))
    if run.metadata.deletion_timestamp is not None:
        return Deadline(now, Reason.DELETED, "The AgentRun is being deleted.")
    if observed.namespace_ends:
        where = run.metadata.namespace
        return Deadline(now, Reason.DELETED, f"Namespace {where} is being deleted.")
    if observed.orphaned:
        return Deadline(now, Reason.CANCEL_REQUESTED, observed.orphaned)
    before = condition_of(run.status, ConditionType.CANCEL_REQUESTED)
    if before is None or before.status != "True":
        return None
    return Deadline(now, Reason(before.reason), before.message)


def _cancellation(run: AgentRun) -> str:
    asked = run.spec.cancellation
    who = f" by {asked.requested_by}" if asked and asked.requested_by else ""
    why = f": {asked.reason}" if asked and asked.reason else "."
    return f"Cancellation was requested{who}{why}"


def _stop(run: AgentRun, observed: Observed, why: Deadline, now: datetime) -> list[Action]:
    """Stop a run: delete its pods first, then set its final status."""
    status = with_condition(
        run.status, ConditionType.CANCEL_REQUESTED, "True", why.reason, why.message, now
    )
    if not _remaining_pods(observed, now):
        phase = Phase.CANCELLED if why.reason in _CANCELS else Phase.FAILED
        message = " ".join(filter(None, (why.message, remote_task_message(run))))
        return _finish(run, observed, status, Ending(phase, why.reason, message), now)
    status, lost, ahead = _terminating(status, observed, why.reason, why.message, now)
    reason, message = (lost.reason, lost.message) if lost else (why.reason, why.message)
    status = in_phase(run, status, Phase.CANCELLING, reason, message, now)
    deletes = [DeletePod(pod.name, pod.uid) for pod in observed.pods if not pod.is_terminating]
    return [*_set_status(run, status), *deletes, *ahead]


def _terminating(
    status: AgentRunStatus, observed: Observed, reason: str, message: str, now: datetime
) -> tuple[AgentRunStatus, Failure | None, list[Action]]:
    """Set PodTerminated to False, or to Unknown if a node is overdue to confirm a deletion."""
    times = [(unreachable_at(pod, observed), pod) for pod in _remaining_pods(observed, now)]
    due = [(at, pod) for at, pod in times if at is not None]
    overdue = next((pod for at, pod in due if at <= now), None)
    kind = ConditionType.POD_TERMINATED
    if overdue is None:
        ahead: list[Action] = [RequeueAt(min(at for at, _ in due))] if due else []
        return with_condition(status, kind, "False", reason, message, now), None, ahead
    where = f"Node {overdue.node}" if overdue.node else "The node"
    lost = Failure(
        Reason.NODE_LOST,
        f"{where} does not confirm that pod {overdue.name} has terminated. Check whether the node"
        " is down.",
    )
    return with_condition(status, kind, "Unknown", lost.reason, lost.message, now), lost, []


def _remaining_pods(observed: Observed, now: datetime) -> list[PodObservation]:
    """
    Return the pods whose removal is still to be awaited.

    A finished pod whose deletion is long overdue is excluded: only a foreign finalizer retains it.
    """

    def is_kept(pod: PodObservation) -> bool:
        due = unreachable_at(pod, observed)
        return pod.finished and due is not None and due <= now

    return [pod for pod in observed.pods if not is_kept(pod)]


def _wait_for_recovery(
    run: AgentRun, observed: Observed, failure: Failure, now: datetime
) -> list[Action]:
    """Record the failure that blocks the run in its status."""
    status = with_condition(
        run.status, ConditionType.AGENT_READY, "False", failure.reason, failure.message, now
    )
    if observed.pod is not None:
        status = _with_pod(status, observed.pod, now)
    phase = Phase.QUEUED if observed.pod is None else Phase.STARTING
    return _set_status(run, in_phase(run, status, phase, failure.reason, failure.message, now))


def _acquire_session(run: AgentRun, observed: Observed, now: datetime) -> list[Action]:
    """Create or acquire the session of the run, then begin its first attempt."""
    session, uid = observed.session, run.metadata.uid
    if not session.exists:
        return [CreateSession(session.name, run.spec.backend)]
    if session.is_held_by(uid):
        return _next_attempt(run, run.status, "The pod is being created.", now)
    if session.holder_is_over:
        # The first run to reconcile records the snapshot of the former holder in the session.
        return [ReleaseSession(session.name, session.resource_version)]
    if session.active is None and session.first_in_line in ("", run.metadata.name):
        return [AcquireSession(session.name, session.resource_version)]
    ahead = session.first_in_line if session.active is None else session.active.name
    message = f"The run waits for run {ahead} of session {session.name} to finish."
    return _set_status(
        run, in_phase(run, run.status, Phase.QUEUED, Reason.SESSION_BUSY, message, now)
    )


def _next_attempt(
    run: AgentRun, status: AgentRunStatus, message: str, now: datetime, *, answered: bool = False
) -> list[Action]:
    """Count an attempt before its pod is created, so that no pod is lost or created twice."""
    attempt = run.attempts + 1
    continuations = (status.continuations or 0) + int(answered)
    update: dict[str, Any] = {
        "attempts": attempt,
        "continuations": continuations or None,
        "start_time": status.start_time or now,
        "pod_name": pod_name(run.metadata.name, attempt),
        "pod_uid": None,
        "node_name": None,
        # The conditions describe the previous pod and do not apply to the next.
        "conditions": [],
    }
    status = status.model_copy(update=update)
    status = in_phase(run, status, Phase.QUEUED, Reason.ACCEPTED, message, now)
    return [SetStatus(status, guarded=True), CreatePod()]


def _had_a_pod(run: AgentRun) -> bool:
    """Whether the newest attempt's pod is known to have existed."""
    agent = agent_of(run)
    is_its_own = agent is not None and (run.attempts == 1 or agent.attempt is not None)
    spoke = is_its_own and agent is not None and agent.state is not None
    return run.status.pod_uid is not None or spoke or outcome_of(run, None) is not None


def _create_pod(observed: Observed, now: datetime, ahead: list[Action]) -> list[Action]:
    """Create the pod of a counted attempt once no pod of an earlier attempt remains."""
    left = _remaining_pods(observed, now)
    if not left:
        return [CreatePod()]
    return [*_delete_remaining(left, observed, now), *ahead]


def _delete_remaining(
    left: list[PodObservation], observed: Observed, now: datetime
) -> list[Action]:
    """Delete the remaining pods, and requeue when terminating ones are overdue."""
    due = [at for pod in left if (at := unreachable_at(pod, observed)) is not None and at > now]
    deletes = [DeletePod(pod.name, pod.uid) for pod in left if not pod.is_terminating]
    return [*deletes, *([RequeueAt(min(due))] if due else [])]


def _conclude_attempt(
    run: AgentRun, observed: Observed, now: datetime, ahead: list[Action]
) -> list[Action]:
    """Conclude an attempt of which nothing runs: finish the run, wait for input, or retry."""
    if waits_without_pod(run, observed.pod):
        return _wait_for_input(run, observed, now, ahead)
    ending = ending_of(run, observed.pod)
    if is_waiting_outcome(outcome_of(run, observed.pod)):
        ending = not_resumable_ending(run)
    status = run.status if observed.pod is None else _with_pod(run.status, observed.pod, now)
    if not ending.lost or not _may_retry(run):
        return _finish(run, observed, status, with_remote_task(run, ending), now)
    if left := _remaining_pods(observed, now):
        status, _, ahead = _terminating(status, observed, ending.reason, ending.message, now)
        deletes = [DeletePod(pod.name, pod.uid) for pod in left if not pod.is_terminating]
        return [*_set_status(run, status), *deletes, *ahead]
    message = f"Attempt {run.attempts} lost its pod; the next attempt starts. {ending.message}"
    return _next_attempt(run, status, message, now)


def _wait_for_input(
    run: AgentRun, observed: Observed, now: datetime, ahead: list[Action]
) -> list[Action]:
    """Wait for input without a pod; once there is an answer, resume from the snapshot."""
    left = _remaining_pods(observed, now)
    if not left and has_pending_input(run):
        message = f"Attempt {run.attempts} has received its input; the next attempt starts."
        return _next_attempt(run, run.status, message, now, answered=True)
    phase, reason, message = waiting_phase(run)
    status = run.status
    gone = "The run waits for input without a pod; input starts the next attempt."
    status = with_condition(status, ConditionType.AGENT_READY, "False", reason, gone, now)
    status = with_condition(status, ConditionType.POD_TERMINATED, "True", reason, gone, now)
    status = in_phase(run, status, phase, reason, message, now)
    return [*_set_status(run, status), *_delete_remaining(left, observed, now), *ahead]


def _may_retry(run: AgentRun) -> bool:
    """Whether a lost pod is replaced: per spec, else once if no unsaved progress is lost."""
    limit = run.spec.retry.limit if run.spec.retry else None
    if limit is None:
        limit = 0 if has_unsaved_progress(run) else 1
    return run.attempts - (run.status.continuations or 0) <= limit


def _report_progress(
    run: AgentRun, observed: Observed, pod: PodObservation, now: datetime
) -> list[Action]:
    """Report the status of a run while its pod runs, and terminate a pod whose work is done."""
    status, actions = _with_pod(run.status, pod, now), list[Action]()
    outcome = outcome_of(run, pod)
    if is_waiting_outcome(outcome):
        return _await_pod_end(
            run, observed, pod, in_phase(run, status, *waiting_phase(run), now), now
        )
    if has_ended(outcome):
        message = "The agent has finished; its pod is shutting down."
        status = in_phase(run, status, Phase.RUNNING, Reason.FINISHING, message, now)
        return _await_pod_end(run, observed, pod, status, now)
    agent = agent_of(run)
    phase, reason, message = phase_of(agent)
    if pod.is_terminating:
        why = pod.disruption or Failure(Reason.POD_DELETED, f"Pod {pod.name} was deleted.")
        status, lost, actions = _terminating(status, observed, why.reason, why.message, now)
        reason, message = (lost or why).reason, (lost or why).message
    is_ready = agent is not None and (bool(agent.prompt_sent) or phase is not Phase.STARTING)
    if pod.not_started and not pod.is_terminating:
        message = pod.waiting_for or f"Pod {pod.name} waits for its node and containers."
    if pod.is_half_ended:
        fault = fault_of(pod)
        status = with_condition(
            status, ConditionType.AGENT_READY, "False", fault.reason, fault.message, now
        )
    elif is_ready:
        status = with_condition(
            status, ConditionType.AGENT_READY, "True", Reason.WORKING, "The prompt was sent.", now
        )
    elif condition_of(status, ConditionType.AGENT_READY):
        status = with_condition(status, ConditionType.AGENT_READY, "Unknown", reason, message, now)
    return [*_set_status(run, in_phase(run, status, phase, reason, message, now)), *actions]


def _await_pod_end(
    run: AgentRun, observed: Observed, pod: PodObservation, status: AgentRunStatus, now: datetime
) -> list[Action]:
    """Wait for the pod of an attempt with a known outcome; delete it after the grace period."""
    phase, reason = status.phase or Phase.RUNNING, status.reason or Reason.FINISHING
    status, lost, actions = _terminating(status, observed, reason, status.message or "", now)
    if lost is not None:
        status = in_phase(run, status, phase, reason, lost.message, now)
    if pod.is_terminating:
        return [*_set_status(run, status), *actions]
    condition = condition_of(status, ConditionType.POD_TERMINATED)
    since = (condition.last_transition_time if condition else None) or now
    at = seconds_after(since, timeouts_of(run, observed.profile, observed.limits).grace)
    enough: Action = DeletePod(pod.name, pod.uid) if at <= now else RequeueAt(at)
    return [*_set_status(run, status), enough]


def _with_pod(status: AgentRunStatus, pod: PodObservation, now: datetime) -> AgentRunStatus:
    """Record the pod, its node and the PodScheduled condition in ``status``."""
    status = status.model_copy(
        update={"pod_name": pod.name, "pod_uid": pod.uid, "node_name": pod.node or None}
    )
    kind = ConditionType.POD_SCHEDULED
    if not pod.node:
        message = f"Pod {pod.name} has no node yet."
        return with_condition(status, kind, "False", "Pending", message, now)
    message = f"Pod {pod.name} is on node {pod.node}."
    return with_condition(status, kind, "True", "Scheduled", message, now)


def _finish(
    run: AgentRun, observed: Observed, status: AgentRunStatus, ending: Ending, now: datetime
) -> list[Action]:
    """Set the final status of the run."""
    outcome = outcome_of(run, observed.pod)
    status = in_phase(run, status, ending.phase, ending.reason, ending.message, now)
    update = {
        "completion_time": now,
        "cancelled_at": now if ending.phase is Phase.CANCELLED else None,
        "result": outcome.result if outcome else None,
    }
    status = status.model_copy(update=update)
    gone = "All containers of the run have terminated."
    status = with_condition(status, ConditionType.POD_TERMINATED, "True", ending.reason, gone, now)
    status = with_condition(
        status, ConditionType.FINISHED, "True", ending.phase, ending.message, now
    )
    return _set_status(run, status, guarded=True)


def _after_the_end(run: AgentRun, observed: Observed, now: datetime) -> list[Action]:
    """Release the session, delete remaining pods, and delete the run when its TTL has expired."""
    actions: list[Action] = []
    if observed.session.is_held_by(run.metadata.uid):
        actions.append(ReleaseSession(observed.session.name, observed.session.resource_version))
    alive = [pod for pod in observed.pods if not pod.finished]
    actions += [DeletePod(pod.name, pod.uid) for pod in alive if not pod.is_terminating]
    ttl = run.spec.ttl_seconds_after_finished
    ended = run.status.completion_time
    if ended is None or run.metadata.deletion_timestamp is not None:
        return actions
    at = seconds_after(ended, observed.limits.ttl if ttl is None else ttl)
    if at > now:
        return [*actions, RequeueAt(at)]
    if actions:
        return [*actions, RequeueAt(seconds_after(now, 1))]
    # A deleted parent counts as a cancellation of its children.
    return [] if observed.has_live_children else [DeleteRun()]


def _set_status(run: AgentRun, status: AgentRunStatus, guarded: bool = False) -> list[Action]:
    """Write ``status`` if it differs from the current one."""
    return [] if status == run.status else [SetStatus(status, guarded)]
