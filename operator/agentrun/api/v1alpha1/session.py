"""AgentSession: a conversation with a stable agent name, which outlives its runs."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from agentrun.api.base import API_VERSION, Line, Model, Name, Text, Time, Token
from agentrun.api.v1alpha1.meta import ObjectMeta
from agentrun.api.v1alpha1.vocabulary import Backend


class AgentSessionSpec(Model):
    """What the conversation is bound to."""

    backend: Backend
    """The kind of agent. All runs of a session have the same."""
    display_name: Line | None = None
    """The name as its creator wrote it, where it was no Kubernetes name."""

    IMMUTABLE: ClassVar[Sequence[str]] = ("backend",)


class ActiveRun(Model):
    """The run that holds the session."""

    name: Name
    """The AgentRun's name."""
    uid: Token
    """Its uid."""


class AgentSessionStatus(Model):
    """Where the conversation stands. Written by the operator."""

    active_run: ActiveRun | None = None
    """The run that is active; the session's other runs wait, the oldest first."""
    last_run: Name | None = None
    """The newest run that was active."""
    session_id: Token | None = None
    """The agent's own id of the conversation."""
    snapshot: Annotated[str, Field(max_length=1024)] | None = None
    """
    The newest snapshot of the conversation, as RUN-UID/NAME (`status.agent.snapshot.name` of that
    run); without one there is nothing to resume.
    """
    snapshot_error: Text | None = None
    """Why the newest run left no snapshot, so that the conversation cannot be resumed."""
    updated_at: Time | None = None
    """When something last happened in it."""


class AgentSession(Model):
    """A conversation with a stable agent name, which outlives its runs."""

    api_version: str = API_VERSION
    kind: str = "AgentSession"
    metadata: ObjectMeta = ObjectMeta()
    spec: AgentSessionSpec
    status: AgentSessionStatus = AgentSessionStatus()
