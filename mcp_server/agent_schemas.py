"""What the tools about agents and their messages give: their published JSON Schemas."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer

from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1 import Backend, Role
from mcp_server.schemas import Status

AgentState = Status | Literal["idle"]
"""Where an agent is: where its active run is, else how its newest ended; `idle` without a run."""

Body = Annotated[AgentMessage, PlainSerializer(lambda message: message.to_json())]


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class AgentView(_Result):
    """An agent: a conversation with a stable name."""

    agent_name: str
    """The agent's stable name. Every tool takes it."""
    display_name: str | None = None
    """The name as its creator wrote it, where it was no Kubernetes name."""
    namespace: str
    """The Kubernetes namespace it lives in."""
    backend: Backend
    """The kind of agent."""
    role: Role | None
    """The role of its representative run: the active one, else its newest. Null without a run."""
    session_id: str
    """The conversation's id."""
    status: AgentState
    """Where its representative run is, also when it has ended; `idle` without one."""
    last_run_id: str | None
    """Its representative run."""
    last_run_status: Status | None = None
    """The same; null without a run."""
    cwd: str
    """The folder in the workspace where that run works."""
    updated_at: str
    """When something last happened to it."""


class ListAgentsResult(_Result):
    """A page of agents, the one that changed last first."""

    agents: list[AgentView]
    """The agents."""
    next_cursor: str | None = None
    """Give it as `cursor` to get the next page; null only when nothing is left."""


class SendResult(_Result):
    """A message that is in its recipient's mailbox."""

    message_id: str
    """The message's id; answers name it as `reply_to` in their metadata."""
    to_agent_name: str
    """Who gets it."""
    to_session_id: str
    """The recipient's conversation."""
    seq: int
    """Its number in that mailbox."""
    created_at: str
    """When it was sent."""


class MessageView(_Result):
    """A message."""

    message_id: str
    """The message's id."""
    seq: int
    """Its number in the mailbox: from 1, without gaps."""
    from_agent_name: str | None
    """Who sent it; null for a person, or a program that gave no name."""
    from_session_id: str | None
    """The sender's conversation."""
    to_agent_name: str
    """Whose mailbox it is in."""
    to_session_id: str
    """The recipient's conversation."""
    created_at: str
    """When it was sent."""
    body: Body
    """What it says."""
    metadata: dict[str, Any]
    """What its sender added: by custom `kind`, and `reply_to` with the id of a message."""


class FetchResult(_Result):
    """The next messages in a mailbox."""

    agent_name: str
    """Whose mailbox it is."""
    session_id: str
    """Its conversation."""
    messages: list[MessageView]
    """The messages after `after_seq`, in order."""
    next_after_seq: int
    """Give it as `after_seq` in the next call."""
