"""
The decisions of a reconcile.

``decide`` compares the desired state of a run with the observed state and returns the actions that
move the one towards the other. It is a pure function: it reads no clock, calls no API and stores
no state, so the same observation always yields the same actions. The rules are evaluated in order,
and the first that applies wins.

A run becomes terminal only when nothing of its pod runs: a run that ends by itself when the
agent's and the runner's containers have terminated, whatever other containers of the pod do; a run
that is stopped when the pod itself is gone.
"""

from collections.abc import Iterable
from datetime import datetime

from agentrun.api.names import pod_name
from agentrun.api.v1alpha1 import AgentRun, ConditionType, Phase, Reason
from agentrun.controller.actions import (
    AcquireSession,
    Action,
    CreatePod,
    CreateSession,
    DeletePod,
    DeleteRun,
    ReleaseSession,
    RequeueAt,
)
from agentrun.controller.endings import (
    Ending,
    fault_of,
    has_pending_input,
    has_unsaved_progress,
    not_resumable_ending,
    phase_without_pod,
    remote_task_message,
    with_remote_task,
)
from agentrun.controller.facts import Facts
from agentrun.controller.observed import Failure, Observed, PodObservation, seconds_after
from agentrun.controller.settings import OperatorTimeouts
from agentrun.controller.status import StatusDraft, condition_of, phase_of
from agentrun.controller.timeouts import Deadline, deadlines_of

_CANCELS = frozenset({Reason.CANCEL_REQUESTED, Reason.DELETED})


def decide(
    run: AgentRun,
    observed: Observed,
    timeouts: OperatorTimeouts,
    now: datetime,
    rejection: Failure | None = None,
) -> list[Action]:
    """
    Return the actions that move ``run`` towards its spec.

    ``rejection`` is why the API server has just rejected the pod or the session, if it has.
    """
    facts = Facts(run, observed, timeouts, now, rejection)
    if run.is_finished:
        return _clean_up(facts)
    deadlines = deadlines_of(facts)
    stop = _stop_request(facts) or next((one for one in deadlines if one.at <= now), None)
    if stop is not None:
        return _stop(facts, stop)
    requeue: list[Action] = [RequeueAt(min(one.at for one in deadlines))] if deadlines else []
    if facts.failure is not None:
        return [*_wait_for_recovery(facts, facts.failure), *requeue]
    if run.attempts == 0:
        return _acquire_session(facts)
    if facts.is_over:
        return _conclude_attempt(facts, requeue)
    if facts.pod is None:
        return _create_pod(facts, requeue)
    return [*_report_progress(facts, facts.pod), *requeue]


def is_ended_by_bound(
    run: AgentRun,
    observed: Observed,
    timeouts: OperatorTimeouts,
    now: datetime,
    rejection: Failure | None = None,
) -> bool:
    """Whether ``decide`` stops the run because of a deadline, for the first time."""
    facts = Facts(run, observed, timeouts, now, rejection)
    if run.is_finished or _stop_request(facts) is not None:
        return False
    return any(one.at <= now for one in deadlines_of(facts))


def _stop_request(facts: Facts) -> Deadline | None:
    """Return the reason to stop the run now: a request, or an earlier decision; None if none."""
    run, observed, now = facts.run, facts.observed, facts.now
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


def _stop(facts: Facts, why: Deadline) -> list[Action]:
    """Stop a run: delete its pods first, then set its final status."""
    draft = StatusDraft(facts.run, facts.now)
    draft.set_condition(ConditionType.CANCEL_REQUESTED, "True", why.reason, why.message)
    if not facts.remaining_pods:
        phase = Phase.CANCELLED if why.reason in _CANCELS else Phase.FAILED
        message = " ".join(filter(None, (why.message, remote_task_message(facts.run))))
        return _finish(facts, draft, Ending(phase, why.reason, message))
    requeue = _await_termination(facts, draft, why.reason, why.message)
    shown = facts.lost_node or why
    draft.set_phase(Phase.CANCELLING, shown.reason, shown.message)
    return [*draft.actions(), *_delete_all(facts.remaining_pods), *requeue]


def _wait_for_recovery(facts: Facts, failure: Failure) -> list[Action]:
    """Record the failure that blocks the run in its status."""
    draft = StatusDraft(facts.run, facts.now)
    draft.set_condition(ConditionType.AGENT_READY, "False", failure.reason, failure.message)
    if facts.pod is not None:
        _set_pod(draft, facts.pod)
    phase = Phase.QUEUED if facts.pod is None else Phase.STARTING
    draft.set_phase(phase, failure.reason, failure.message)
    return draft.actions()


def _acquire_session(facts: Facts) -> list[Action]:
    """Create or acquire the session of the run, then begin its first attempt."""
    run, session = facts.run, facts.observed.session
    if not session.exists:
        return [CreateSession(session.name, run.spec.backend)]
    if session.is_held_by(run.metadata.uid):
        return _next_attempt(facts, "The pod is being created.")
    if session.holder_is_over:
        # The first run to reconcile records the snapshot of the former holder in the session.
        return [ReleaseSession(session.name, session.resource_version)]
    if session.active is None and session.first_in_line in ("", run.metadata.name):
        return [AcquireSession(session.name, session.resource_version)]
    ahead = session.first_in_line if session.active is None else session.active.name
    message = f"The run waits for run {ahead} of session {session.name} to finish."
    draft = StatusDraft(run, facts.now)
    draft.set_phase(Phase.QUEUED, Reason.SESSION_BUSY, message)
    return draft.actions()


def _next_attempt(facts: Facts, message: str, *, answered: bool = False) -> list[Action]:
    """Count an attempt before its pod is created, so that no pod is lost or created twice."""
    run, draft = facts.run, StatusDraft(facts.run, facts.now)
    attempt = run.attempts + 1
    continuations = (run.status.continuations or 0) + int(answered)
    draft.set(
        attempts=attempt,
        continuations=continuations or None,
        start_time=run.status.start_time or facts.now,
        pod_name=pod_name(run.metadata.name, attempt),
        pod_uid=None,
        node_name=None,
        # The conditions describe the previous pod and do not apply to the next.
        conditions=[],
    )
    draft.set_phase(Phase.QUEUED, Reason.ACCEPTED, message)
    return [*draft.actions(guarded=True), CreatePod()]


def _create_pod(facts: Facts, requeue: list[Action]) -> list[Action]:
    """Create the pod of a counted attempt once no pod of an earlier attempt remains."""
    if not facts.remaining_pods:
        return [CreatePod()]
    return [*_delete_all(facts.remaining_pods), *_requeue_when_overdue(facts), *requeue]


def _conclude_attempt(facts: Facts, requeue: list[Action]) -> list[Action]:
    """Conclude an attempt of which nothing runs: finish the run, wait for input, or retry."""
    if facts.waits_without_pod:
        return _wait_for_input(facts, requeue)
    run, draft = facts.run, StatusDraft(facts.run, facts.now)
    ending = not_resumable_ending(run) if facts.has_exited_to_wait else facts.ending
    if facts.pod is not None:
        _set_pod(draft, facts.pod)
    if not ending.lost or not _may_retry(run):
        return _finish(facts, draft, with_remote_task(run, ending))
    if facts.remaining_pods:
        requeue = _await_termination(facts, draft, ending.reason, ending.message)
        return [*draft.actions(), *_delete_all(facts.remaining_pods), *requeue]
    message = f"Attempt {run.attempts} lost its pod; the next attempt starts. {ending.message}"
    return _next_attempt(facts, message)


def _wait_for_input(facts: Facts, requeue: list[Action]) -> list[Action]:
    """Wait for input without a pod; once there is an answer, resume from the snapshot."""
    run, draft = facts.run, StatusDraft(facts.run, facts.now)
    if not facts.remaining_pods and has_pending_input(run):
        message = f"Attempt {run.attempts} has received its input; the next attempt starts."
        return _next_attempt(facts, message, answered=True)
    phase, reason, message = phase_without_pod(run)
    explanation = "The run waits for input without a pod; input starts the next attempt."
    draft.set_condition(ConditionType.AGENT_READY, "False", reason, explanation)
    draft.set_condition(ConditionType.POD_TERMINATED, "True", reason, explanation)
    draft.set_phase(phase, reason, message)
    removal = [*_delete_all(facts.remaining_pods), *_requeue_when_overdue(facts)]
    return [*draft.actions(), *removal, *requeue]


def _may_retry(run: AgentRun) -> bool:
    """Whether a lost pod is replaced: per spec, else once if no unsaved progress is lost."""
    limit = run.spec.retry.limit if run.spec.retry else None
    if limit is None:
        limit = 0 if has_unsaved_progress(run) else 1
    return run.attempts - (run.status.continuations or 0) <= limit


def _report_progress(facts: Facts, pod: PodObservation) -> list[Action]:
    """Report the status of a run while its pod runs, and terminate a pod whose work is done."""
    draft = StatusDraft(facts.run, facts.now)
    _set_pod(draft, pod)
    if facts.has_exited_to_wait:
        draft.set_phase(*phase_without_pod(facts.run))
        return _await_pod_end(facts, pod, draft)
    if facts.has_ended:
        message = "The agent has finished; its pod is shutting down."
        draft.set_phase(Phase.RUNNING, Reason.FINISHING, message)
        return _await_pod_end(facts, pod, draft)
    requeue: list[Action] = []
    phase, reason, message = phase_of(facts.agent)
    if pod.is_terminating:
        why = pod.disruption or Failure(Reason.POD_DELETED, f"Pod {pod.name} was deleted.")
        requeue = _await_termination(facts, draft, why.reason, why.message)
        shown = facts.lost_node or why
        reason, message = shown.reason, shown.message
    elif pod.gated:
        reason, message = Reason.SCHEDULING_GATED, pod.gated
    elif pod.not_started:
        message = pod.waiting_for or f"Pod {pod.name} waits for its node and containers."
    draft.set_phase(phase, reason, message)
    _set_agent_ready(facts, pod, draft)
    return [*draft.actions(), *requeue]


def _await_pod_end(facts: Facts, pod: PodObservation, draft: StatusDraft) -> list[Action]:
    """Wait for the pod of an attempt with a known outcome; delete it after the grace period."""
    reason, message = draft.status.reason or "", draft.status.message or ""
    requeue = _await_termination(facts, draft, reason, message)
    if facts.lost_node is not None:
        draft.set(message=facts.lost_node.message)
    if pod.is_terminating:
        return [*draft.actions(), *requeue]
    condition = condition_of(draft.status, ConditionType.POD_TERMINATED)
    since = (condition.last_transition_time if condition else None) or facts.now
    at = seconds_after(since, facts.timeouts.grace)
    removal = _delete_all([pod]) if at <= facts.now else [RequeueAt(at)]
    return [*draft.actions(), *removal]


def _finish(facts: Facts, draft: StatusDraft, ending: Ending) -> list[Action]:
    """Set the final status of the run."""
    draft.set(
        completion_time=facts.now,
        cancelled_at=facts.now if ending.phase is Phase.CANCELLED else None,
        result=facts.outcome.result if facts.outcome else None,
    )
    draft.set_phase(ending.phase, ending.reason, ending.message)
    explanation = "All containers of the run have terminated."
    draft.set_condition(ConditionType.POD_TERMINATED, "True", ending.reason, explanation)
    draft.set_condition(ConditionType.FINISHED, "True", ending.phase, ending.message)
    return draft.actions(guarded=True)


def _clean_up(facts: Facts) -> list[Action]:
    """Release the session, delete remaining pods, and delete the run when its TTL has expired."""
    run, observed, now = facts.run, facts.observed, facts.now
    actions: list[Action] = []
    if observed.session.is_held_by(run.metadata.uid):
        actions.append(ReleaseSession(observed.session.name, observed.session.resource_version))
    actions += _delete_all(pod for pod in observed.pods if not pod.finished or pod.others_run)
    ttl = run.spec.ttl_seconds_after_finished
    if ttl is None:
        ttl = facts.settings.ttl
    ended = run.status.completion_time
    if ended is None or ttl is None or run.metadata.deletion_timestamp is not None:
        return actions
    at = seconds_after(ended, ttl)
    if at > now:
        return [*actions, RequeueAt(at)]
    if actions:
        return [*actions, RequeueAt(seconds_after(now, 1))]
    # A deleted parent counts as a cancellation of its children.
    return [] if observed.has_live_children else [DeleteRun()]


def _delete_all(pods: Iterable[PodObservation]) -> list[Action]:
    """Delete those of ``pods`` that are not being deleted yet."""
    return [DeletePod(pod.name, pod.uid) for pod in pods if not pod.is_terminating]


def _requeue_when_overdue(facts: Facts) -> list[Action]:
    """Requeue for the time at which the deletion of the next remaining pod becomes overdue."""
    return [] if facts.next_overdue is None else [RequeueAt(facts.next_overdue)]


def _await_termination(facts: Facts, draft: StatusDraft, reason: str, message: str) -> list[Action]:
    """Set PodTerminated to False, or to Unknown if a node is overdue to confirm a deletion."""
    kind, lost = ConditionType.POD_TERMINATED, facts.lost_node
    if lost is not None:
        draft.set_condition(kind, "Unknown", lost.reason, lost.message)
        return []
    draft.set_condition(kind, "False", reason, message)
    return _requeue_when_overdue(facts)


def _set_agent_ready(facts: Facts, pod: PodObservation, draft: StatusDraft) -> None:
    """Set AgentReady of a pod that runs; Unknown if the agent is no longer known to be ready."""
    kind, agent = ConditionType.AGENT_READY, facts.agent
    phase, reason, message = draft.status.phase, draft.status.reason, draft.status.message
    is_ready = agent is not None and (bool(agent.prompt_sent) or phase is not Phase.STARTING)
    if pod.is_half_ended:
        fault = fault_of(pod)
        draft.set_condition(kind, "False", fault.reason, fault.message)
    elif is_ready:
        draft.set_condition(kind, "True", Reason.WORKING, "The prompt was sent.")
    elif condition_of(draft.status, kind):
        draft.set_condition(kind, "Unknown", reason or "", message or "")


def _set_pod(draft: StatusDraft, pod: PodObservation) -> None:
    """Set the pod, its node and PodScheduled."""
    draft.set(pod_name=pod.name, pod_uid=pod.uid, node_name=pod.node or None)
    kind = ConditionType.POD_SCHEDULED
    if pod.node:
        message = f"Pod {pod.name} is on node {pod.node}."
        draft.set_condition(kind, "True", "Scheduled", message)
    elif pod.gated:
        draft.set_condition(kind, "False", Reason.SCHEDULING_GATED, pod.gated)
    else:
        draft.set_condition(kind, "False", "Pending", f"Pod {pod.name} has no node yet.")
