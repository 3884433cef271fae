"""
What a run that is over leaves in its session.

The session's snapshot is what the next run goes on from. Where the newest run has said something
that no snapshot holds, an older one would make an agent that has forgotten it: so there is none.
"""

from datetime import datetime
from typing import Any

from agentrun.api.v1alpha1 import AgentRun, AgentSessionStatus
from agentrun.controller.status import agent_of


def session_status_after(run: AgentRun) -> dict[str, Any]:
    """Make the patch of a session's status with what ``run`` has left; null takes a field away."""
    name, agent = run.metadata.name, run.status.agent
    status = AgentSessionStatus(last_run=name).to_json()
    if agent is None or not agent.prompt_sent:
        return status  # Nothing was said: the conversation stands where it stood.
    kept = agent.kept
    if kept is None or not _is_fully_snapshotted(run):
        why = agent.snapshot_error or "the pod ended before the conversation was kept."
        return status | {"snapshotError": f"Of run {name} there is no snapshot: {why}"}
    return status | {
        "snapshot": f"{run.metadata.uid}/{kept.name}",
        "snapshotError": None,
        "sessionID": kept.session_id,
    }


def format_time(at: datetime) -> str:
    """Write a point in time as the API server does."""
    return str(AgentSessionStatus(updated_at=at).to_json()["updatedAt"])


def _is_fully_snapshotted(run: AgentRun) -> bool:
    """Whether no answer was given after the newest snapshot was taken."""
    agent = run.status.agent
    if agent is None or agent.kept is None:
        return False
    if agent_of(run) is None:
        return True  # The newest attempt said nothing to its agent.
    return agent.kept.acknowledged_input >= (agent.acknowledged_input or 0)
