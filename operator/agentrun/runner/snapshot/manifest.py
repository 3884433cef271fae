"""
The manifest of a snapshot, the last of its files to be stored.

It is built from a ``DriverState``, and a later attempt reads it into a ``ResumePoint``.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from agentrun.api.gateway import MAX_SNAPSHOT_PART_BYTES, Task
from agentrun.api.resolve import workspace_of
from agentrun.api.v1alpha1 import Question, Usage
from agentrun.runner.git.workspace import digest_of

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


@dataclass(frozen=True)
class DriverState:
    """The state of a conversation, as the end of an attempt records it."""

    session_id: str = ""
    """The id with which the conversation can be resumed; empty if it cannot be."""
    remote_task: str | None = None
    """The A2A task of the conversation, if the agent is remote."""
    prompt_sent: bool = False
    """Whether this attempt has sent the agent anything."""
    acknowledged: int = 0
    """The seq of the newest input that the conversation contains."""
    delivered: int = 0
    """The seq of the newest message from the agent's mailbox that the conversation contains."""
    question: Question | None = None
    question_call: str | None = None
    """The digest of the tool call that the open question asks permission for."""
    usage: Usage | None = None
    cost: str | None = None
    """The cost of the conversation, earlier runs included."""


@dataclass(frozen=True)
class ResumePoint:
    """The snapshot from which an attempt resumes."""

    manifest: Manifest
    is_own: bool
    """Whether an earlier attempt of the same run took it, and not an earlier run."""

    def kept_change(self, task: Task) -> KeptChange | None:
        """Return the git workspace's state, if the task uses the same repository."""
        wanted = workspace_of(task.spec, task.profile).git
        kept = self.manifest.change
        if wanted is None or kept is None or kept.url_digest != digest_of(wanted.url):
            return None
        return kept


def acknowledged_input(task: Task, origin: ResumePoint | None) -> int:
    """Return the seq of the newest input that the conversation contains when an attempt starts."""
    if origin is not None and origin.is_own:
        return origin.manifest.acknowledged_input
    return task.acknowledged_input
