"""
Converts runs to tool results.

It maps the terms of the Kubernetes API to those of the MCP tools. The functions are pure: they read
no clock and do no I/O. manifests.py converts in the other direction.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from agentrun.api.base import rfc3339
from agentrun.api.names import unique_run_id
from agentrun.api.pod_layout import REQUESTED_AT, REQUESTED_BY
from agentrun.api.quarantine import UNREADABLE, Quarantined
from agentrun.api.status import Status
from agentrun.api.v1alpha1 import (
    AgentRun,
    AgentRunStatus,
    AgentState,
    Phase,
    Question,
    Reason,
)
from agentrun.store.base import RunRow
from mcp_server.schemas.arguments import folder_of
from mcp_server.schemas.runs import (
    CancelResult,
    ConditionView,
    ContinueResult,
    OptionView,
    QuestionView,
    RemoteRefView,
    RunResult,
    RunView,
    SpawnResult,
    UnreadableView,
    UsageView,
)

_ASKING = (AgentState.INPUT_REQUIRED, AgentState.AUTH_REQUIRED)

LISTED_PROMPT = 200
"""How many characters of a prompt a list of runs shows."""

_ENDED = {
    Phase.COMPLETED: "Run completed",
    Phase.FAILED: "Run failed",
    Phase.CANCELLED: "Run cancelled",
}


def status_of(row: RunRow) -> Status:
    """
    Return the status of a run: the more recent of its phase and its journal.

    The journal is updated before the phase. A terminal status only comes from the phase.
    """
    run, phase, reported = row.run, row.run.phase, Status.parse(row.journal_status)
    if phase.is_terminal or phase is Phase.CANCELLING:
        return phase.status
    if run.is_cancel_requested or row.deleted_at:
        return Status.CANCELLING
    # A new pod is starting: the journal's status is of the previous attempt.
    if phase in (Phase.QUEUED, Phase.STARTING) and row.journal_attempt < run.attempts:
        return phase.status
    if reported is None or reported is Status.CANCELLED:
        return phase.status
    if phase.is_waiting and reported is Status.RUNNING and _is_asking(run):
        return phase.status  # The event of the question is still to come.
    if reported.is_terminal and row.journal_attempt == run.attempts:
        # The agent has finished, so it ran, but the operator has not set the phase yet.
        return Status.RUNNING
    return reported if reported.is_live else phase.status


def _is_asking(run: AgentRun) -> bool:
    """Whether the newest attempt waits for a person, and no answer is on its way to it."""
    agent = run.status.agent
    if agent is None or agent.attempt not in (None, run.attempts):
        return False
    if agent.question is None and agent.state not in _ASKING:
        return False
    asked, known = agent.question, agent.acknowledged_input or 0
    meant = (None, asked.id) if asked else (None,)
    return not any(one.seq > known and one.question_id in meant for one in run.spec.inputs)


def run_view(row: RunRow, *, prompt_limit: int | None = None, is_reused: bool = False) -> RunView:
    """
    Return the view of a run, with at most ``prompt_limit`` characters of its prompt.

    ``is_reused`` says whether other runs had its name.
    """
    run, status = row.run, row.run.status
    spec, result = run.spec, status.result
    current = status_of(row)
    return RunView(
        run_id=unique_run_id(run.metadata.name, run.metadata.uid)
        if is_reused
        else run.metadata.name,
        uid=run.metadata.uid,
        namespace=run.metadata.namespace,
        backend=spec.backend,
        role=spec.role,
        session_id=session_id_of(row),
        agent_name=run.session_name,
        status=current,
        reason=status.reason,
        message=status.message,
        summary=summary_of(row),
        started_at=timestamp(_created(run) or row.updated_at) or "",
        updated_at=timestamp(row.updated_at or run.created) or "",
        completed_at=timestamp(_not_before(_created(run), status.completion_time)),
        cancelled_at=timestamp(_not_before(_created(run), status.cancelled_at)),
        last_seq=row.last_seq,
        prompt=_shortened(spec.prompt, prompt_limit),
        cwd=folder_of(run),
        metadata=spec.metadata or {},
        remote_ref=_remote_ref(run),
        question=_question(status) if current.is_waiting else None,
        result=_result(status),
        error=_error(run),
        usage=_usage(status),
        branch=result.branch if result else None,
        commit=result.commit if result else None,
        pod=status.pod_name,
        node=status.node_name,
        attempts=run.attempts,
        conditions=[
            ConditionView(type=c.type, status=c.status, reason=c.reason, message=c.message)
            for c in status.conditions
        ],
        requested_by=run.metadata.annotations.get(REQUESTED_BY),
        resumed_from_run_id=spec.resumed_from,
        parent_run_id=spec.parent.name if spec.parent else None,
        deleted_at=timestamp(row.deleted_at),
        unreadable=run.metadata.annotations.get(UNREADABLE),
    )


def unreadable_view(one: Quarantined) -> UnreadableView:
    """Return the view of a run that cannot be read."""
    return UnreadableView(
        run_id=one.name, namespace=one.namespace, uid=one.uid or None, reason=one.reason
    )


def spawn_result(row: RunRow) -> SpawnResult:
    """Return the result of spawn_run for a run that it created now or before."""
    return SpawnResult(
        run_id=row.run.metadata.name,
        backend=row.run.spec.backend,
        role=row.run.spec.role,
        session_id=session_id_of(row),
        agent_name=row.run.session_name,
        status=status_of(row),
    )


def cancel_result(row: RunRow) -> CancelResult:
    """Return the result of cancel_run."""
    return CancelResult(
        run_id=row.run.metadata.name,
        status=status_of(row),
        cancelled_at=timestamp(_not_before(_created(row.run), row.run.status.cancelled_at)),
    )


def continue_result(
    row: RunRow, mode: Any, resumed_from: str | None, status: Status | None = None
) -> ContinueResult:
    """Return the result of continue_run; ``row`` is the run that continues."""
    return ContinueResult(
        run_id=row.run.metadata.name,
        status=status or status_of(row),
        session_id=session_id_of(row),
        agent_name=row.run.session_name,
        mode=mode,
        resumed_from_run_id=resumed_from,
    )


def session_id_of(row: RunRow) -> str:
    """Return the session's uid or, if it is unknown, its name: all tools accept both."""
    return row.session_uid or row.run.session_name


def summary_of(row: RunRow) -> str:
    """Return one line about the latest progress of a run."""
    phase, message = row.run.phase, row.run.status.message
    if phase is Phase.REJECTED:
        return f"Rejected: {message}" if message else "Run rejected"
    if phase is Phase.FAILED and message:
        return f"Run failed: {message}"
    if phase.is_terminal:
        return _ENDED[phase]
    if row.summary:
        return row.summary
    if row.run.status.reason == Reason.SESSION_BUSY:
        return "Run queued behind active session run"
    status = status_of(row)
    return "Run queued" if status is Status.QUEUED else f"Status: {status}"


def _created(run: AgentRun) -> datetime | None:
    """
    Return when a run was created, as exactly as it is known, and not before it was requested.

    The API server rounds the time down to whole seconds.
    """
    created, requested = run.created, run.metadata.annotations.get(REQUESTED_AT)
    try:
        at = datetime.fromisoformat(requested or "")
    except ValueError:
        return created  # It was created with kubectl.
    if created is None or at.tzinfo is None:
        return created
    aware = created if created.tzinfo else created.replace(tzinfo=UTC)
    # Any other time is that of a copied manifest, or of a clock that is wrong.
    return at if timedelta(0) <= at - aware < timedelta(seconds=1) else created


def _not_before(created: datetime | None, at: datetime | None) -> datetime | None:
    """Return ``at``, which an older operator has rounded down, but not before the creation."""
    return at if at is None or created is None else max(created, at)


def timestamp(at: datetime | None) -> str | None:
    """Format a timestamp for clients: ISO 8601, UTC, milliseconds. A naive one is taken as UTC."""
    if at is None:
        return None
    return rfc3339(at if at.tzinfo else at.replace(tzinfo=UTC))


def seal_data(run: AgentRun) -> dict[str, Any]:
    """Return the data of the last event of a run: its status, reason, message and end times."""
    status = run.status
    values = {
        "status": run.phase.status,
        "reason": status.reason,
        "message": status.message,
        "completed_at": timestamp(status.completion_time),
        "cancelled_at": timestamp(status.cancelled_at),
    }
    return {key: value for key, value in values.items() if value is not None}


def ended_by_deletion(run: AgentRun, now: datetime) -> AgentRun:
    """Return the run, cancelled at ``now``, after its AgentRun and its pods were deleted."""
    status = run.status.model_copy(
        update={
            "phase": Phase.CANCELLED,
            "reason": Reason.DELETED.value,
            "message": "The AgentRun was deleted before the run had ended.",
            "completion_time": now,
            "cancelled_at": now,
        }
    )
    return run.model_copy(update={"status": status})


def _question(status: AgentRunStatus) -> QuestionView | None:
    question: Question | None = status.agent.question if status.agent else None
    if question is None:
        return None
    return QuestionView(
        id=question.id,
        kind=question.kind,
        text=question.text,
        options=[OptionView(id=option.id, name=option.name) for option in question.options],
        asked_at=timestamp(question.asked_at),
    )


def _remote_ref(run: AgentRun) -> RemoteRefView | None:
    agent = run.status.agent
    if agent is None or not (agent.session_id or agent.remote_ref):
        return None
    # Older runners report a provider that is not the backend.
    there = agent.remote_ref.model_dump(exclude={"provider"}) if agent.remote_ref else {}
    return RemoteRefView(provider=run.spec.backend, conversation_id=agent.session_id, **there)


def _result(status: AgentRunStatus) -> RunResult | None:
    return RunResult(**status.result.model_dump()) if status.result else None


def _usage(status: AgentRunStatus) -> UsageView | None:
    usage = status.agent.usage if status.agent else None
    return UsageView(**usage.model_dump()) if usage else None


def _error(run: AgentRun) -> str | None:
    if run.phase not in (Phase.FAILED, Phase.REJECTED):
        return None
    return run.status.message or run.status.reason or run.phase.value


def _shortened(text: str | None, limit: int | None) -> str | None:
    if text is None or limit is None or len(text) <= limit:
        return text
    return text[:limit] + "…"
