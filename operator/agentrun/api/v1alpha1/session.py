"""AgentSession: a conversation with a stable agent name, which outlives its runs."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from agentrun.api.base import API_VERSION, MAX_NAME, Line, Model, Name, Text, Time, Token, name_rule
from agentrun.api.v1alpha1.meta import ObjectMeta
from agentrun.api.v1alpha1.vocabulary import Backend


class AgentSessionSpec(Model):
    """The specification of a session."""

    backend: Backend
    """The kind of agent. All runs of a session have the same backend."""
    display_name: Line | None = None
    """The name as its creator wrote it, if that is not a valid Kubernetes name."""

    IMMUTABLE: ClassVar[Sequence[str]] = ("backend",)


class ActiveRun(Model):
    """The active run of a session."""

    name: Name
    """The name of the AgentRun."""
    uid: Token
    """The uid of the AgentRun."""


class AgentSessionStatus(Model):
    """The observed status of a session, written by the operator."""

    active_run: ActiveRun | None = None
    """The active run. The session's other runs are queued, and start in order, the oldest first."""
    last_run: Name | None = None
    """The most recent run that was active."""
    session_id: Token | None = None
    """The agent's own ID of the conversation."""
    snapshot: Annotated[str, Field(max_length=1024)] | None = None
    """
    The newest snapshot of the conversation, as RUN-UID/NAME (`status.agent.snapshot.name` of that
    run). If it is empty, the session cannot be resumed.
    """
    snapshot_error: Text | None = None
    """Why the newest run has no snapshot, so that the conversation cannot be resumed."""
    updated_at: Time | None = None
    """The time of the last change to the session."""

    @property
    def is_resumable(self) -> bool:
        """Whether there is a snapshot of the newest run, from which the conversation resumes."""
        return bool(self.snapshot) and not self.snapshot_error

    @property
    def may_be_resumed(self) -> bool:
        """
        Whether a new run may resume the conversation, as far as is known before it starts.

        An active run may still store a snapshot: whether it did is checked when the new run starts.
        """
        return self.is_resumable or self.active_run is not None


class AgentSession(Model):
    """A conversation with a stable agent name, which outlives its runs."""

    api_version: str = API_VERSION
    kind: str = "AgentSession"
    metadata: ObjectMeta = ObjectMeta()
    spec: AgentSessionSpec
    status: AgentSessionStatus = AgentSessionStatus()

    RULES: ClassVar[Sequence[dict[str, Any]]] = [name_rule("AgentSession", MAX_NAME)]
