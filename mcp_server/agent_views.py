"""
Sessions, runs and messages become what the tools about agents say.

Pure, as ``views`` is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from agentrun.api.pod_layout import WORKSPACE
from agentrun.api.v1alpha1 import AgentSession
from agentrun.store.base import RunRow, SessionRun, StoredMessage
from mcp_server.agent_schemas import AgentView, MessageView, SendResult
from mcp_server.manifests import folder_of
from mcp_server.views import status_of, timestamp

_EPOCH = datetime.fromtimestamp(0, UTC)
IDLE = "idle"


@dataclass(frozen=True)
class Agent:
    """A session, the run that stands for it, and its place in the list of agents."""

    session: AgentSession
    run_uid: str
    """Empty if there is none."""
    place: tuple[str, str]
    """When it last changed, and its name; times of one form compare as texts."""


def newest_first(sessions: Iterable[AgentSession], runs: Iterable[SessionRun]) -> list[Agent]:
    """Put sessions in order, the one that changed last first."""
    standing = {(run.session_name, run.session_uid): run for run in runs}
    agents = []
    for session in sessions:
        meta = session.metadata
        # Until the front door has seen the session of a run, its row does not name it.
        found = [standing.get((meta.name, uid)) for uid in (meta.uid, "")]
        chosen = max((run for run in found if run), key=lambda run: run.rank, default=None)
        changed = chosen.updated_at if chosen else _changed(session)
        place = timestamp(changed) or "", meta.name
        agents.append(Agent(session, chosen.uid if chosen else "", place))
    return sorted(agents, key=lambda agent: agent.place, reverse=True)


def agent_view(session: AgentSession, row: RunRow | None) -> AgentView:
    """Show an agent; ``row`` is its representative run."""
    meta = session.metadata
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
        updated_at=timestamp((row and row.updated_at) or _changed(session)) or "",
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


def _changed(session: AgentSession) -> datetime:
    return session.status.updated_at or session.metadata.creation_timestamp or _EPOCH
