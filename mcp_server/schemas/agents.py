"""What the tools about agents and their messages give: their published JSON Schemas."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer

from agentrun.api.messages import AgentMessage
from agentrun.api.status import Status
from agentrun.api.v1alpha1 import Backend, Role

AgentState = Status | Literal["idle"]
"""An agent's status: that of its active run, else of its newest run; `idle` without a run."""

Body = Annotated[AgentMessage, PlainSerializer(lambda message: message.to_json())]


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class AgentView(_Result):
    """An agent: a conversation with a stable name."""

    agent_name: str
    """The agent's stable name. Every tool takes it."""
    display_name: str | None = None
    """The name as its creator wrote it, if that is not a valid Kubernetes name."""
    namespace: str
    """Its Kubernetes namespace."""
    backend: Backend
    """The kind of agent."""
    role: Role | None
    """The role of its representative run: the active one, else its newest. Null without a run."""
    session_id: str
    """The conversation's id."""
    status: AgentState
    """The status of its representative run, also after its end; `idle` without one."""
    last_run_id: str | None
    """Its representative run."""
    last_run_status: Status | None = None
    """The same status; null without a run."""
    cwd: str
    """The working directory of that run."""
    updated_at: str
    """When it last changed."""


class ListAgentsResult(_Result):
    """A page of agents, most recently changed first."""

    next_cursor: str | None = None
    """Pass it as `cursor` to get the next page; null only at the end."""
    agents: list[AgentView]
    """The agents."""


class SendResult(_Result):
    """A message that is in its recipient's mailbox."""

    message_id: str
    """The message's id; replies give it as `reply_to` in their metadata."""
    to_agent_name: str
    """The recipient."""
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
    """The sender; null for a person, or a program that gave no name."""
    from_session_id: str | None
    """The sender's conversation."""
    to_agent_name: str
    """The recipient."""
    to_session_id: str
    """The recipient's conversation."""
    created_at: str
    """When it was sent."""
    body: Body
    """The message itself."""
    metadata: dict[str, Any]
    """The sender's metadata: by convention `kind`, and `reply_to` with a message's id."""


class FetchResult(_Result):
    """The next messages in a mailbox."""

    agent_name: str
    """The owner of the mailbox."""
    session_id: str
    """The owner's conversation."""
    next_after_seq: int
    """Pass it as `after_seq` in the next call."""
    messages: list[MessageView]
    """The messages after `after_seq`, in order."""
