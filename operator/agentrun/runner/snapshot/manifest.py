"""The manifest of a snapshot: the last of its files to be stored."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from agentrun.api.gateway import MAX_SNAPSHOT_PART_BYTES
from agentrun.api.v1alpha1 import Question, Usage

FILE = "manifest.json"
PART_BYTES = MAX_SNAPSHOT_PART_BYTES
VERSION = 1

WorkspaceKind = Literal["git", "files", "none"]


class _Kept(BaseModel):
    # The reader may be an older version than the writer.
    model_config = ConfigDict(extra="ignore")


class Part(_Kept):
    """A part of the archive."""

    name: str
    size: int
    sha256: str


class KeptChange(_Kept):
    """The state of a git workspace."""

    url_digest: str
    """A digest of the URL, which may contain a password."""
    branch: str
    base: str
    """The commit that the run started from."""
    head: str
    """The commit with all changes, including uncommitted ones."""
    agent_head: str
    """The commit that the agent's HEAD was at."""


class Manifest(_Kept):
    """The contents of a snapshot."""

    version: int = VERSION
    run: str
    """The uid of the run that the snapshot was taken of."""
    run_id: str
    attempt: int
    backend: str
    session_id: str
    remote_task: str | None = None
    """The remote agent's task; its conversation is stored there, so there are no parts."""
    acknowledged_input: int = 0
    delivered_message: int = 0
    """The newest message of the agent's mailbox that the conversation contains."""
    taken_at: datetime
    workspace: WorkspaceKind
    """`none`: the workspace is a volume, which persists, or that of a remote agent."""
    change: KeptChange | None = None
    question: Question | None = None
    """The question that the run was waiting for."""
    question_call: str | None = None
    """A digest of the tool call that a permission question was about."""
    usage: Usage | None = None
    """The run's usage."""
    cost_usd: str | None = None
    """The cost of the conversation, including earlier runs."""
    parts: list[Part] = []

    @property
    def size(self) -> int:
        """The total size of the parts in bytes."""
        return sum(part.size for part in self.parts)
