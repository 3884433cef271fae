"""What the tools take and give: these models are the tools' published JSON Schemas."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentrun.api.base import Seconds
from agentrun.api.events import Event
from agentrun.api.messages import AgentMessage
from agentrun.api.status import Status
from agentrun.api.v1alpha1 import Backend, GitSource, Role


class WorkspaceArguments(BaseModel):
    """The contents of /workspace."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    git: GitSource | None = None
    """Clone this git repository; the agent's change is committed to a branch of its own."""
    volume: str | None = None
    """Mount this PersistentVolumeClaim; the profile must allow it by name."""


class TimeoutArguments(BaseModel):
    """Timeouts in seconds. The profile's limits also apply."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    active_deadline_seconds: Seconds | None = None
    """How long the run may be active, without the time it waits for input."""
    idle_timeout_seconds: Seconds | None = None
    """How long a waiting run keeps its pod."""
    input_timeout_seconds: Seconds | None = None
    """How long the run may wait for input before it fails."""
    termination_grace_period_seconds: Annotated[int, Field(ge=1, le=600)] | None = None
    """How long a run that is stopped may take to send its last events."""


class SpawnArguments(BaseModel):
    """
    The arguments of spawn_run that make the run what it is.

    The tool's parameters are derived from these fields.
    """

    backend: Annotated[Backend, Field(description="The kind of agent that does the work.")]
    role: Annotated[
        Role, Field(description="The agent's role. A label; it does not change behavior.")
    ]
    prompt: Annotated[
        str | None,
        Field(description="The task as text. Required without input_message.", max_length=131_072),
    ] = None
    input_message: Annotated[
        AgentMessage | None,
        Field(description="The task as a message with parts; follows the prompt, if any."),
    ] = None
    session_mode: Annotated[
        Literal["new", "resume"],
        Field(description="`new` starts a conversation, `resume` continues session_id's."),
    ] = "new"
    session_id: Annotated[
        str | None, Field(description="The session to resume: its id or its agent's name.")
    ] = None
    nickname: Annotated[
        str | None,
        Field(description="A stable name for a new agent, unique in the namespace."),
    ] = None
    profile: Annotated[
        str | None,
        Field(description="The AgentProfile to use. Omit it unless told to use one."),
    ] = None
    model: Annotated[
        str | None,
        Field(description="The model; the profile lists the allowed ones.", max_length=256),
    ] = None
    workspace: Annotated[
        WorkspaceArguments | None,
        Field(description="What the agent works on. Default: the profile's, else empty."),
    ] = None
    cwd: Annotated[
        str | None,
        Field(
            description="The working directory: relative, or absolute below /workspace.",
            max_length=1000,
        ),
    ] = None
    output_schema: Annotated[
        dict[str, Any] | None,
        Field(
            description="A JSON Schema that the final answer must satisfy: at most 64 KiB,"
            " 2,000 subschemas, 32 deep, with references within itself only. Not a provider's"
            " wrapper around a schema."
        ),
    ] = None
    metadata: Annotated[
        dict[str, Any] | None, Field(description="Stored and returned, never interpreted.")
    ] = None
    backend_config: Annotated[
        dict[str, Any] | None,
        Field(
            description="Settings of the backend. remote_a2a needs agent_url, and takes"
            " agent_card_path, auth_token and headers (both stored in a Secret),"
            " history_length, accepted_output_modes and blocking."
        ),
    ] = None
    timeouts: Annotated[TimeoutArguments | None, Field(description="The run's timeouts.")] = None


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class SpawnResult(_Result):
    """A run that was accepted."""

    run_id: str
    """The run's id, and the name of its AgentRun. Pass it to the other tools."""
    backend: Backend
    """The kind of agent."""
    role: Role
    """The agent's role."""
    session_id: str
    """The conversation's id."""
    agent_name: str
    """The agent's stable name; it can be used instead of the run_id."""
    status: Status
    """`queued`, or the current status if the idempotency_key was used before."""


class RunResult(_Result):
    """The result of a run."""

    summary: str | None = None
    """The agent's final answer."""
    structured: Any = None
    """The answer that satisfies output_schema; without one, a remote agent's first data part."""
    branch: str | None = None
    """The git branch that contains the change."""
    commit: str | None = None
    """The change's last commit."""
    pushed: bool | None = None
    """Whether the branch was pushed."""
    files_changed: int | None = None
    """How many files the change touches."""
    insertions: int | None = None
    """How many lines it adds."""
    deletions: int | None = None
    """How many lines it removes."""
    left_out: list[str] | None = None
    """The parts of the agent's work that the change lacks, and why; at most 20, then a count."""


class UsageView(_Result):
    """What the run used, as reported by its agent."""

    input_tokens: int | None = None
    """Input tokens."""
    cached_input_tokens: int | None = None
    """Input tokens read from the provider's cache."""
    output_tokens: int | None = None
    """Output tokens."""
    total_tokens: int | None = None
    """All tokens."""
    cost_usd: str | None = None
    """The cost in US dollars, if the agent reports it."""


class OptionView(_Result):
    """An answer that a question offers."""

    id: str
    """The id to answer with."""
    name: str
    """Its label."""


class QuestionView(_Result):
    """The question of a waiting run."""

    id: str
    """The question's id."""
    kind: str = "input"
    """What is requested: `input`, `auth` (credentials) or `permission` (for an action)."""
    text: str
    """The question, as the agent asked it."""
    options: list[OptionView]
    """The answers it offers, if any."""
    asked_at: str | None = None
    """When it was asked."""


class ConditionView(_Result):
    """A condition of a run, as in Kubernetes."""

    type: str
    """The type of the condition."""
    status: str
    """`True`, `False` or `Unknown`."""
    reason: str
    """The reason, in one word."""
    message: str
    """The details, in a sentence."""


class RemoteRefView(_Result):
    """The agent's own identifiers of the run."""

    provider: str
    """The run's backend."""
    conversation_id: str | None = None
    """The agent's id of the conversation."""
    agent_url: str | None = None
    """The remote agent's URL, as given to the run; this and the rest only for remote_a2a."""
    agent_name: str | None = None
    """Its name in its agent card."""
    context_id: str | None = None
    """The conversation's A2A context id."""
    task_id: str | None = None
    """The id of the newest A2A task."""


class RunView(_Result):
    """A run: its task, status and result."""

    run_id: str
    """
    The run's id: the name of its AgentRun, followed by `@` and its uid if several runs had the
    name.
    """
    uid: str | None = None
    """The uid of its AgentRun."""
    namespace: str
    """Its Kubernetes namespace."""
    backend: Backend
    """The kind of agent."""
    role: Role
    """The agent's role."""
    session_id: str
    """The conversation's id."""
    agent_name: str
    """The agent's stable name."""
    status: Status
    """The run's status; completed, failed, cancelled and rejected are terminal."""
    reason: str | None = None
    """The reason for the status, in one word."""
    message: str | None = None
    """The reason for the status, in a sentence."""
    summary: str
    """The latest progress, in one line."""
    started_at: str
    """When it was requested."""
    updated_at: str
    """When it last changed."""
    completed_at: str | None = None
    """When it ended."""
    cancelled_at: str | None = None
    """When it was confirmed that no process of the cancelled run is left."""
    last_seq: int
    """The seq of its newest event."""
    prompt: str | None = None
    """The task; list_runs shows only its beginning."""
    cwd: str
    """The agent's working directory in the workspace."""
    metadata: dict[str, Any]
    """The metadata given to spawn_run."""
    remote_ref: RemoteRefView | None = None
    """The agent's own ids, once it has reported them."""
    question: QuestionView | None = None
    """The open question, while the status is input_required or auth_required."""
    result: RunResult | None = None
    """Its result."""
    error: str | None = None
    """Why the run failed or was rejected."""
    usage: UsageView | None = None
    """Its tokens and cost."""
    branch: str | None = None
    """The git branch that contains its change."""
    commit: str | None = None
    """The change's last commit."""
    pod: str | None = None
    """Its newest pod."""
    node: str | None = None
    """The node of that pod."""
    attempts: int
    """The number of pods it has had."""
    conditions: list[ConditionView]
    """Its conditions, as in Kubernetes."""
    requested_by: str | None = None
    """The caller that requested it."""
    resumed_from_run_id: str | None = None
    """The finished run that it continues or repeats."""
    parent_run_id: str | None = None
    """The run whose agent started it."""
    deleted_at: str | None = None
    """When its AgentRun was deleted; its record and events are retained."""
    unreadable: str | None = None
    """Why parts of the run are not shown: they cannot be read."""


class UnreadableView(_Result):
    """A run that cannot be read. Correct or delete it with kubectl."""

    run_id: str
    """The name of its AgentRun."""
    namespace: str
    """Its Kubernetes namespace."""
    uid: str | None = None
    """Its uid."""
    reason: str
    """Why it cannot be read."""


class ListRunsResult(_Result):
    """A page of runs, newest first."""

    next_cursor: str | None = None
    """Pass it as `cursor` to get the next page; null at the end."""
    runs: list[RunView]
    """The runs."""
    unreadable: list[UnreadableView] = []
    """On the first page: the runs in the cluster that cannot be read."""


class PollResult(_Result):
    """The next events of a run."""

    run_id: str
    """The run."""
    uid: str | None = None
    """Its uid: the events, and `next_after_seq`, belong to this run only."""
    status: Status
    """The run's status."""
    next_after_seq: int
    """Pass it as `after_seq` in the next call."""
    events: list[Event]
    """The events after `after_seq`, in order; empty if there was none within `wait_ms`."""


class CancelResult(_Result):
    """The progress of a cancellation."""

    run_id: str
    """The run."""
    status: Status
    """`cancelled`: no process of it is left. `cancelling`: it is being stopped."""
    cancelled_at: str | None
    """When its status became `cancelled`; null before."""


class ContinueResult(_Result):
    """Which run continues, and how."""

    run_id: str
    """The run to follow: the same for an answer, else a new one."""
    status: Status
    """Its status. After an answer, `running` means that the agent has received it."""
    session_id: str
    """The conversation's id."""
    agent_name: str
    """The agent's stable name."""
    mode: Literal["live", "resume", "from_start"]
    """
    `live`: the waiting run was answered. `resume`: a new run continues the conversation.
    `from_start`: a new run repeats the task.
    """
    resumed_from_run_id: str | None = None
    """The run that the new one continues or repeats; null for an answer."""


class ArtifactResult(_Result):
    """A part of a field that was too large for its event."""

    run_id: str
    """The run."""
    seq: int
    """The event's seq."""
    field_path: str
    """The field, as a JSON pointer into the event's data."""
    mime: str
    """The media type of the whole: `text/plain`, `application/json`, `text/x-diff`."""
    encoding: str
    """The encoding of `content`: `utf-8`, or `base64` if it is not text."""
    relpath: str
    """The name it is stored under, within the run."""
    total_bytes: int
    """The size of the whole."""
    offset: int
    """Where `content` begins; moved forward if it would split a character."""
    returned_bytes: int
    """How many bytes `content` represents."""
    has_more: bool
    """Whether there is more from `offset + returned_bytes`."""
    content: str
    """The part."""
