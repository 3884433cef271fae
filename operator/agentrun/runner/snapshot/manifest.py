"""What a snapshot says of itself: the last of its files to be stored."""

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
    # Whoever reads it may be older than who wrote it.
    model_config = ConfigDict(extra="ignore")


class Part(_Kept):
    """A piece of the archive."""

    name: str
    size: int
    sha256: str


class KeptChange(_Kept):
    """Where a git workspace was."""

    url_digest: str
    """Of the URL, which may hold a password."""
    branch: str
    base: str
    """The commit that the run began from."""
    head: str
    """The commit with everything in it, also what was not committed."""
    agent_head: str
    """The commit the agent was on."""


class Manifest(_Kept):
    """What is in a snapshot."""

    version: int = VERSION
    run: str
    """The uid of the run it was taken of."""
    run_id: str
    attempt: int
    backend: str
    session_id: str
    remote_task: str | None = None
    """The remote agent's task; its conversation is kept where it is, so there are no parts."""
    acknowledged_input: int = 0
    delivered_message: int = 0
    """The newest message of the agent's mailbox that the conversation has in it."""
    taken_at: datetime
    workspace: WorkspaceKind
    """`none`: the workspace is a volume, which stays, or could not be kept."""
    change: KeptChange | None = None
    question: Question | None = None
    """What the run was waiting for."""
    question_call: str | None = None
    """A digest of the call that a question for permission was about."""
    usage: Usage | None = None
    """What the run had consumed."""
    cost_usd: str | None = None
    """What the conversation has cost, earlier runs included."""
    parts: list[Part] = []

    @property
    def size(self) -> int:
        """How large the parts are together."""
        return sum(part.size for part in self.parts)
