"""
The session status after a run has finished.

The next run resumes from the session's snapshot. If the newest run sent something to the agent
that no snapshot contains, resuming from an older one would lose it; then the session has none.
"""

from datetime import datetime
from typing import Any

from agentrun.api.v1alpha1 import AgentRun, AgentSessionStatus
from agentrun.controller.status import agent_of


def session_status_after(run: AgentRun) -> dict[str, Any]:
    """Return the merge patch of the session's status after ``run``; null removes a field."""
    name, agent = run.metadata.name, run.status.agent
    status = AgentSessionStatus(last_run=name).to_json()
    if agent is None or not agent.prompt_sent:
        return status  # Nothing was sent: the conversation is unchanged.
    kept = agent.kept
    if kept is None or not _is_fully_snapshotted(run):
        why = agent.snapshot_error or "the pod terminated before the conversation was stored."
        return status | {"snapshotError": f"Run {name} has no snapshot: {why}"}
    return status | {
        "snapshot": f"{run.metadata.uid}/{kept.name}",
        "snapshotError": None,
        "sessionID": kept.session_id,
    }


def format_time(at: datetime) -> str:
    """Format a time as the API server does."""
    return str(AgentSessionStatus(updated_at=at).to_json()["updatedAt"])


def _is_fully_snapshotted(run: AgentRun) -> bool:
    """Whether the agent acknowledged no input after the newest snapshot was taken."""
    agent = run.status.agent
    if agent is None or agent.kept is None:
        return False
    if agent_of(run) is None:
        return True  # The newest attempt sent nothing to its agent.
    return agent.kept.acknowledged_input >= (agent.acknowledged_input or 0)
