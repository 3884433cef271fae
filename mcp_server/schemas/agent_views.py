"""
Converts sessions, runs and messages to the results of the tools about agents.

The functions are pure, as in ``views``.
"""

from dataclasses import dataclass
from datetime import datetime

from agentrun.api.pod_layout import WORKSPACE
from agentrun.api.status import TERMINAL_STATUSES
from agentrun.api.v1alpha1 import AgentSession, Backend, Phase
from agentrun.store.base import RunRow, SessionRun, StoredMessage
from agentrun.store.moments import EPOCH, micros
from agentrun.store.paging import Place
from mcp_server.schemas.agents import AgentState, AgentView, MessageView, SendResult
from mcp_server.schemas.arguments import folder_named, folder_of
from mcp_server.schemas.run_views import status_of, timestamp

IDLE = "idle"


@dataclass(frozen=True)
class AgentEntry:
    """A session, the run that represents it, and its place in the list of agents."""

    session: AgentSession
    run: SessionRun | None
    place: Place


@dataclass(frozen=True)
class Wanted:
    """The filter of list_agents."""

    backend: Backend | None = None
    status: AgentState | None = None
    folder: str | None = None

    @property
    def some_with_runs(self) -> bool:
        """Whether agents that have had runs may match."""
        return self.status != IDLE

    @property
    def some_without_runs(self) -> bool:
        """Whether agents that have had no run may match."""
        return self.status in (None, IDLE) and self.folder in (None, WORKSPACE)

    def may_be(self, agent: AgentEntry) -> bool:
        """Whether an agent may match, as far as that is known without its run's document."""
        if self.backend not in (None, agent.session.spec.backend):
            return False
        if agent.run is None:
            return self.some_without_runs
        return self._may_be_in(agent.run) and self.folder in (None, folder_named(agent.run.cwd))

    def _may_be_in(self, run: SessionRun) -> bool:
        if self.status is None:
            return True
        if run.has_ended:
            return self.status == Phase(run.phase).status
        # The status of a run that has not ended depends on its document and its journal.
        return self.status not in TERMINAL_STATUSES | {IDLE}

    def is_asked_for(self, view: AgentView) -> bool:
        """Whether an agent matches."""
        chosen = (self.backend, view.backend), (self.status, view.status), (self.folder, view.cwd)
        return all(wanted in (None, found) for wanted, found in chosen)


def place_of_session(session: AgentSession) -> Place:
    """Return the place of a session that has no run."""
    return micros(_changed(session)), session.metadata.name, ""


def agent_view(session: AgentSession, row: RunRow | None) -> AgentView:
    """Return the view of an agent; ``row`` is its representative run."""
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
    """Return the result of send_agent_message."""
    return SendResult(
        message_id=stored.sent.message_id,
        to_agent_name=stored.sent.to_agent_name,
        to_session_id=stored.sent.to_session_uid,
        seq=stored.seq,
        created_at=timestamp(stored.created_at) or "",
    )


def message_view(stored: StoredMessage) -> MessageView:
    """Return the view of a message."""
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
    return session.status.updated_at or session.metadata.creation_timestamp or EPOCH
