"""
Lenient models of the MCP server's responses.

The server may be newer or slightly older than this program: unknown fields are preserved, and
missing optional fields default to empty values. Only the fields that the commands use are declared.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """The base of all responses. Preserves unknown fields for ``--output json``."""

    model_config = ConfigDict(extra="allow")

    def raw(self) -> dict[str, Any]:
        """Return the response as received."""
        return self.model_dump(mode="json", exclude_unset=True)


class Spawned(Answer):
    """An accepted run."""

    run_id: str
    agent_name: str = ""
    session_id: str = ""
    status: str = "queued"


class Option(Answer):
    """An option of a question."""

    id: str
    name: str = ""


class Question(Answer):
    """The question of a run that waits for input."""

    id: str = ""
    text: str = ""
    options: list[Option] = Field(default_factory=list)


class Outcome(Answer):
    """The result of a run."""

    summary: str | None = None
    structured: Any = None
    branch: str | None = None
    commit: str | None = None
    pushed: bool | None = None
    files_changed: int | None = None
    insertions: int | None = None
    deletions: int | None = None
    left_out: list[str] | None = None


class Usage(Answer):
    """The token usage and cost of a run."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: str | None = None


class Run(Answer):
    """A run."""

    run_id: str
    namespace: str = ""
    backend: str = ""
    role: str = ""
    session_id: str = ""
    agent_name: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None
    summary: str = ""
    started_at: str = ""
    updated_at: str = ""
    completed_at: str | None = None
    last_seq: int = 0
    prompt: str | None = None
    cwd: str = ""
    question: Question | None = None
    result: Outcome | None = None
    error: str | None = None
    usage: Usage | None = None
    pod: str | None = None
    node: str | None = None
    attempts: int = 0
    requested_by: str | None = None
    deleted_at: str | None = None
    unreadable: str | None = None


class Unreadable(Answer):
    """A stored run that the server cannot read, with the reason."""

    run_id: str
    namespace: str = ""
    reason: str = ""


class Runs(Answer):
    """A page of runs."""

    runs: list[Run]
    next_cursor: str | None = None
    unreadable: list[Unreadable] = Field(default_factory=list)


class Event(Answer):
    """An event of a run's journal."""

    seq: int
    ts: str = ""
    type: str
    data: dict[str, Any] = Field(default_factory=dict)


class Page(Answer):
    """A page of a run's events."""

    run_id: str
    uid: str | None = None
    status: str
    events: list[Event]
    next_after_seq: int


class Cancelled(Answer):
    """The status of a cancellation."""

    run_id: str
    status: str


class Continued(Answer):
    """The run that was resumed, or the new run that continues it."""

    run_id: str
    status: str = ""
    mode: str | None = None
    resumed_from_run_id: str | None = None


class Slice(Answer):
    """A part of a large event field."""

    total_bytes: int = 0
    returned_bytes: int = 0
    offset: int = 0
    encoding: str = "utf-8"
    has_more: bool = False
    content: str = ""


class Agent(Answer):
    """A named agent: a conversation that runs can resume."""

    agent_name: str
    role: str | None = None
    session_id: str = ""
    status: str = ""
    last_run_id: str | None = None
    updated_at: str = ""


class Agents(Answer):
    """A page of agents."""

    agents: list[Agent]
    next_cursor: str | None = None


class Sent(Answer):
    """A message that was stored in a mailbox."""

    message_id: str = ""
    to_agent_name: str = ""
    seq: int = 0


class Body(Answer):
    """The body of a message."""

    parts: list[dict[str, Any]] = Field(default_factory=list)


class Message(Answer):
    """A message in a mailbox."""

    seq: int = 0
    from_agent_name: str | None = None
    created_at: str = ""
    body: Body = Field(default_factory=Body)


class Inbox(Answer):
    """A page of a mailbox."""

    agent_name: str = ""
    messages: list[Message]
    next_after_seq: int = 0


class Profile(Answer):
    """A profile that the platform team offers."""

    name: str
    backend: str = ""
    description: str | None = None
    models: Any = None
