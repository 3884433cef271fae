"""
The MCP server's answers, read loosely.

It may be newer than this program, or a little older: what is not known is kept as it came, and
what is missing gets a value that says nothing. So only what the commands use is named here.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """What all answers have in common: unknown fields are kept, for ``--output json``."""

    model_config = ConfigDict(extra="allow")

    def raw(self) -> dict[str, Any]:
        """Return it as it came."""
        return self.model_dump(mode="json", exclude_unset=True)


class Spawned(Answer):
    """A run that was accepted."""

    run_id: str
    agent_name: str = ""
    session_id: str = ""
    status: str = "queued"


class Option(Answer):
    """One of the answers a question offers."""

    id: str
    name: str = ""


class Question(Answer):
    """What a waiting run wants to know."""

    id: str = ""
    text: str = ""
    options: list[Option] = Field(default_factory=list)


class Outcome(Answer):
    """What came of a run."""

    summary: str | None = None
    structured: Any = None
    branch: str | None = None
    commit: str | None = None
    pushed: bool | None = None
    files_changed: int | None = None
    insertions: int | None = None
    deletions: int | None = None


class Usage(Answer):
    """What a run consumed."""

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
    """A run that cannot be read as it is."""

    run_id: str
    namespace: str = ""
    reason: str = ""


class Runs(Answer):
    """A page of runs."""

    runs: list[Run]
    next_cursor: str | None = None
    unreadable: list[Unreadable] = Field(default_factory=list)


class Event(Answer):
    """One thing that happened in a run."""

    seq: int
    ts: str = ""
    type: str
    data: dict[str, Any] = Field(default_factory=dict)


class Page(Answer):
    """The next events of a run."""

    run_id: str
    status: str
    events: list[Event]
    next_after_seq: int


class Cancelled(Answer):
    """How far a cancellation has come."""

    run_id: str
    status: str


class Continued(Answer):
    """A run that was answered, or the new one that continues it."""

    run_id: str
    status: str = ""
    mode: str | None = None
    resumed_from_run_id: str | None = None


class Slice(Answer):
    """A part of a large field."""

    total_bytes: int = 0
    returned_bytes: int = 0
    offset: int = 0
    encoding: str = "utf-8"
    has_more: bool = False
    content: str = ""


class Agent(Answer):
    """An agent: a conversation with a name."""

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
    """A message that was put into a mailbox."""

    message_id: str = ""
    to_agent_name: str = ""
    seq: int = 0


class Body(Answer):
    """What a message says."""

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
    """What a platform team offers to run agents with."""

    name: str
    backend: str = ""
    description: str | None = None
    models: Any = None
