"""
Sessions, runs and messages become what the tools about agents say.

Pure, as ``views`` is.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from agentrun.api.pod_layout import WORKSPACE
from agentrun.api.v1alpha1 import AgentSession
from agentrun.store.base import RunRow, StoredMessage
from mcp_server.agent_schemas import AgentView, MessageView, SendResult
from mcp_server.manifests import folder_of, session_name_of
from mcp_server.views import status_of, timestamp

_EPOCH = datetime.fromtimestamp(0, UTC)
IDLE = "idle"


def agent_views(sessions: Iterable[AgentSession], rows: Iterable[RunRow]) -> list[AgentView]:
    """Show each session as an agent, with the run among ``rows`` that stands for it."""
    standing: dict[tuple[str, str], RunRow] = {}
    for row in rows:
        standing[session_name_of(row.run), row.session_uid] = row
    views = []
    for session in sessions:
        meta = session.metadata
        # Until the front door has seen the session of a run, its row does not name it.
        found = [standing.get((meta.name, uid)) for uid in (meta.uid, "")]
        chosen = max((row for row in found if row), key=_rank, default=None)
        views.append(agent_view(session, chosen))
    return views


def agent_view(session: AgentSession, row: RunRow | None) -> AgentView:
    """Show an agent; ``row`` is its representative run."""
    meta, last = session.metadata, session.status.updated_at or session.metadata.creation_timestamp
    return AgentView(
        agent_name=meta.name,
        display_name=session.spec.display_name,
        namespace=meta.namespace,
        backend=session.spec.backend,
        role=row.run.spec.role if row else None,
        session_id=meta.uid,
        status=status_of(row) if row else IDLE,
        last_run_id=row.run.metadata.name if row else None,
        last_run_status=status_of(row) if row else None,
        cwd=folder_of(row.run) if row else WORKSPACE,
        updated_at=timestamp((row and row.updated_at) or last) or timestamp(_EPOCH) or "",
    )


def send_result(stored: StoredMessage) -> SendResult:
    """Show a message that was sent."""
    return SendResult(
        message_id=stored.sent.message_id,
        to_agent_name=stored.sent.to_agent_name,
        to_session_id=stored.sent.to_session_uid,
        seq=stored.seq,
        created_at=timestamp(stored.created_at) or "",
    )


def message_view(stored: StoredMessage) -> MessageView:
    """Show a message."""
    sent = stored.sent
    return MessageView(
        message_id=sent.message_id,
        seq=stored.seq,
        from_agent_name=sent.from_agent_name,
        from_session_id=sent.from_session_uid,
        to_agent_name=sent.to_agent_name,
        to_session_id=sent.to_session_uid,
        created_at=timestamp(stored.created_at) or "",
        body=sent.body,
        metadata=sent.metadata or {},
    )


def _rank(row: RunRow) -> tuple[bool, datetime, datetime]:
    run = row.run
    return not run.phase.is_terminal, row.updated_at or _EPOCH, run.created or _EPOCH
