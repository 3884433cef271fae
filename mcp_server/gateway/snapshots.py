"""
What an attempt goes on from.

An attempt that follows another of its run goes on from the run's own snapshot. The first attempt
of a run that resumes a session goes on from what the session's last run has left there.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from agentrun.api.gateway import MAX_BLOB_BYTES, MAX_SNAPSHOT_PART_BYTES, blob_key
from agentrun.api.v1alpha1 import AgentRun, AgentSession, Snapshot

BYTES = "application/octet-stream"
_FOLDER = "snapshots/"


@dataclass(frozen=True)
class SnapshotSource:
    """A snapshot, and the run among whose blobs it is."""

    uid: str
    snapshot: Snapshot

    def key_of(self, file: str) -> str:
        """Return the key of one of its files."""
        return blob_key(self.uid, f"{self.snapshot.name}/{file}")


def own_origin(run: AgentRun) -> SnapshotSource | None:
    """Return the snapshot that an earlier attempt of ``run`` has left."""
    agent = run.status.agent
    if agent is None or agent.kept is None:
        return None
    return SnapshotSource(run.metadata.uid, agent.kept)


def origin_in(session: AgentSession) -> SnapshotSource | None:
    """Return the snapshot in a session; None if it holds none that can be resumed."""
    status = session.status
    uid, _, name = (status.snapshot or "").partition("/")
    if not name or status.snapshot_error or not status.session_id:
        return None
    try:
        # What the run that left it was told is nothing that this run's inputs hold.
        return SnapshotSource(
            uid, Snapshot(name=name, session_id=status.session_id, acknowledged_input=0)
        )
    except ValidationError:
        return None


def acknowledged_before(run: AgentRun) -> int:
    """Say which answers the agent knows already when an attempt begins."""
    agent = run.status.agent
    if agent is None:
        return 0
    if agent.kept is not None:
        return agent.kept.acknowledged_input
    return agent.acknowledged_input or 0


def most_bytes_of(name: str) -> int:
    """Say how large a blob of that name may be."""
    return MAX_SNAPSHOT_PART_BYTES if name.startswith(_FOLDER) else MAX_BLOB_BYTES
