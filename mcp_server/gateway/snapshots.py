"""
Selects the snapshot that an attempt resumes from.

A later attempt of a run resumes from the run's own snapshot. The first attempt of a run that
resumes a session resumes from the snapshot of the session's last run.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from agentrun.api.gateway import MAX_BLOB_BYTES, MAX_SNAPSHOT_PART_BYTES, blob_key
from agentrun.api.v1alpha1 import AgentRun, AgentSession, Snapshot

BYTES = "application/octet-stream"
_FOLDER = "snapshots/"


@dataclass(frozen=True)
class SnapshotSource:
    """A snapshot, and the uid of the run whose blobs contain it."""

    uid: str
    snapshot: Snapshot

    def key_of(self, file: str) -> str:
        """Return the blob key of a file of the snapshot."""
        return blob_key(self.uid, f"{self.snapshot.name}/{file}")


def own_origin(run: AgentRun) -> SnapshotSource | None:
    """Return the snapshot of an earlier attempt of ``run``, if any."""
    agent = run.status.agent
    if agent is None or agent.kept is None:
        return None
    return SnapshotSource(run.metadata.uid, agent.kept)


def origin_in(session: AgentSession) -> SnapshotSource | None:
    """Return the snapshot of a session; None if there is none that can be resumed."""
    status = session.status
    uid, _, name = (status.snapshot or "").partition("/")
    if not name or status.snapshot_error or not status.session_id:
        return None
    try:
        # The inputs of the run that wrote the snapshot are not those of the new run.
        return SnapshotSource(
            uid, Snapshot(name=name, session_id=status.session_id, acknowledged_input=0)
        )
    except ValidationError:
        return None


def acknowledged_before(run: AgentRun) -> int:
    """Return the number of the last input that the agent has at the start of an attempt."""
    agent = run.status.agent
    if agent is None:
        return 0
    if agent.kept is not None:
        return agent.kept.acknowledged_input
    return agent.acknowledged_input or 0


def most_bytes_of(name: str) -> int:
    """Return the maximum size in bytes of a blob with that name."""
    return MAX_SNAPSHOT_PART_BYTES if name.startswith(_FOLDER) else MAX_BLOB_BYTES
