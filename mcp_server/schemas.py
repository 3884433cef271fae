"""What the tools take and give: these models are the tools' published JSON Schemas."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentrun.api.base import Seconds
from agentrun.api.events import Event
from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1 import Backend, GitSource, Role

Status = Literal[
    "queued", "running", "input_required", "auth_required", "cancelling",
    "completed", "failed", "cancelled", "rejected",
]  # fmt: skip
"""Where a run is; the last four are final."""


class WorkspaceArguments(BaseModel):
    """What the agent finds in /workspace."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    git: GitSource | None = None
    """Clone this git repository; the agent's change is committed to a branch of its own."""
    volume: str | None = None
    """Mount this PersistentVolumeClaim; the profile must allow it by name."""


class TimeoutArguments(BaseModel):
    """How long things may take, in seconds. The profile's limits hold as well."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    active_deadline_seconds: Seconds | None = None
    """How long the run may work; waiting for a person does not count."""
    idle_timeout_seconds: Seconds | None = None
    """How long the pod of a waiting run is kept."""
    input_timeout_seconds: Seconds | None = None
    """How long the run may wait for a person before it fails."""
    termination_grace_period_seconds: Annotated[int, Field(ge=1, le=600)] | None = None
    """How long a run that is stopped may take to ship its last events."""


class SpawnArguments(BaseModel):
    """The arguments of spawn_run that make the run what it is."""

    backend: Backend
    role: Role
    prompt: str | None = None
    input_message: AgentMessage | None = None
    session_mode: Literal["new", "resume"] = "new"
    session_id: str | None = None
    nickname: str | None = None
    profile: str | None = None
    model: str | None = None
    workspace: WorkspaceArguments | None = None
    cwd: str | None = None
    output_schema: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    backend_config: dict[str, Any] | None = None
    timeouts: TimeoutArguments | None = None


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class SpawnResult(_Result):
    """A run that was accepted."""

    run_id: str
    """The run's id, and the name of its AgentRun. Give it to the other tools."""
    backend: Backend
    """The kind of agent."""
    role: Role
    """The role it was given."""
    session_id: str
    """The conversation's id."""
    agent_name: str
    """The agent's stable name; it may be used instead of the run_id."""
    status: Status
    """`queued`; where the run is by now, if the idempotency_key was used before."""


class RunResult(_Result):
    """What came of a run."""

    summary: str | None = None
    """The agent's final answer."""
    structured: Any = None
    """The answer that satisfies the output_schema; without one, a remote agent's first data."""
    branch: str | None = None
    """The git branch that holds the change."""
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


class UsageView(_Result):
    """What the run consumed, as its agent reports it."""

    input_tokens: int | None = None
    """Tokens read."""
    cached_input_tokens: int | None = None
    """Tokens read from the provider's cache."""
    output_tokens: int | None = None
    """Tokens written."""
    total_tokens: int | None = None
    """All tokens."""
    cost_usd: str | None = None
    """The cost in US dollars, where the agent says it."""


class OptionView(_Result):
    """One of the answers a question offers."""

    id: str
    """What to answer to choose it."""
    name: str
    """What it means."""


class QuestionView(_Result):
    """What a waiting run wants to know."""

    id: str
    """The question's id."""
    kind: str = "input"
    """What is wanted: `input`, `auth` (credentials) or `permission` (leave to do something)."""
    text: str
    """The question, as the agent put it."""
    options: list[OptionView]
    """The answers it offers, if any."""
    asked_at: str | None = None
    """When it was asked."""


class ConditionView(_Result):
    """One observed fact about a run."""

    type: str
    """The fact."""
    status: str
    """`True`, `False` or `Unknown`."""
    reason: str
    """Why, in one word."""
    message: str
    """Why, in a sentence."""


class RemoteRefView(_Result):
    """The run as its agent knows it."""

    provider: str
    """The run's backend."""
    conversation_id: str | None = None
    """The agent's own id of the conversation."""
    agent_url: str | None = None
    """The remote agent's URL, as the run gives it; this and the rest only for remote_a2a."""
    agent_name: str | None = None
    """Its name, as its card says."""
    context_id: str | None = None
    """The conversation's id there."""
    task_id: str | None = None
    """The newest task's id there."""


class RunView(_Result):
    """A run: what was asked, where it is, what came of it."""

    run_id: str
    """The run's id, and the name of its AgentRun."""
    namespace: str
    """The Kubernetes namespace it lives in."""
    backend: Backend
    """The kind of agent."""
    role: Role
    """The role it was given."""
    session_id: str
    """The conversation's id."""
    agent_name: str
    """The agent's stable name."""
    status: Status
    """Where the run is; completed, failed, cancelled and rejected are final."""
    reason: str | None = None
    """Why it is there, in one word."""
    message: str | None = None
    """Why it is there, in a sentence."""
    summary: str
    """What happened last, in a line."""
    started_at: str
    """When it was asked for."""
    updated_at: str
    """When something last happened."""
    completed_at: str | None = None
    """When it ended."""
    cancelled_at: str | None = None
    """When it was known that nothing of a cancelled run was left."""
    last_seq: int
    """The number of its newest event."""
    prompt: str | None = None
    """The task; list_runs shows only its beginning."""
    cwd: str
    """The folder in the workspace the agent works in."""
    metadata: dict[str, Any]
    """What spawn_run was given as metadata."""
    remote_ref: RemoteRefView | None = None
    """The agent's own ids, once it has told them."""
    question: QuestionView | None = None
    """What it waits for, while its status is input_required or auth_required."""
    result: RunResult | None = None
    """What came of it."""
    error: str | None = None
    """Why a failed or rejected run ended."""
    usage: UsageView | None = None
    """What it consumed."""
    branch: str | None = None
    """The git branch that holds its change."""
    commit: str | None = None
    """The change's last commit."""
    pod: str | None = None
    """Its newest pod."""
    node: str | None = None
    """The node of that pod."""
    attempts: int
    """How many pods it has had."""
    conditions: list[ConditionView]
    """What is known of it, in Kubernetes' form."""
    requested_by: str | None = None
    """Who asked for it."""
    resumed_from_run_id: str | None = None
    """The finished run that it continues, or does again."""
    parent_run_id: str | None = None
    """The run whose agent asked for it."""
    deleted_at: str | None = None
    """When its AgentRun was gone from the cluster; its record and events stay."""
    unreadable: str | None = None
    """Why what is shown is not all of it: the run holds what cannot be read."""


class UnreadableView(_Result):
    """A run that cannot be read as it is. Delete or mend it with kubectl."""

    run_id: str
    """The name of its AgentRun."""
    namespace: str
    """The Kubernetes namespace it lives in."""
    uid: str | None = None
    """Its uid."""
    reason: str
    """What is wrong with it."""


class ListRunsResult(_Result):
    """A page of runs, newest first."""

    runs: list[RunView]
    """The runs."""
    next_cursor: str | None = None
    """Give it as `cursor` to get the next page; null at the end."""
    unreadable: list[UnreadableView] = []
    """On the first page: the runs in the cluster that cannot be read as they are."""


class PollResult(_Result):
    """The next events of a run."""

    run_id: str
    """The run."""
    status: Status
    """Where the run is."""
    events: list[Event]
    """The events after `after_seq`, in order. Empty: nothing happened within `wait_ms`."""
    next_after_seq: int
    """Give it as `after_seq` in the next call."""


class CancelResult(_Result):
    """How far a cancellation has come."""

    run_id: str
    """The run."""
    status: Status
    """`cancelled`: no process of it is left. `cancelling`: it is being stopped."""
    cancelled_at: str | None
    """When nothing was left of it; null before."""


class ContinueResult(_Result):
    """Which run goes on, and how."""

    run_id: str
    """The run to follow: the same for an answer, else a new one."""
    status: Status
    """Where it is. After an answer, `running` means that the agent has it."""
    session_id: str
    """The conversation's id."""
    agent_name: str
    """The agent's stable name."""
    mode: Literal["live", "resume", "from_start"]
    """
    `live`: the run that waited was answered. `resume`: a new run continues the conversation.
    `from_start`: a new run does the task again.
    """
    resumed_from_run_id: str | None = None
    """The run that the new one continues or repeats; null for an answer."""


class ArtifactResult(_Result):
    """A part of a field that was too large for its event."""

    run_id: str
    """The run."""
    seq: int
    """The event."""
    field_path: str
    """The field, as a JSON pointer into the event's data."""
    mime: str
    """What the whole is: `text/plain`, `application/json`, `text/x-diff`."""
    encoding: str
    """How `content` holds it: `utf-8`, or `base64` where it is no text."""
    relpath: str
    """The name it is stored under, within the run."""
    total_bytes: int
    """How large the whole is."""
    offset: int
    """Where `content` begins; moved on where it would have cut a character."""
    returned_bytes: int
    """How many bytes `content` stands for."""
    has_more: bool
    """Whether there is more from `offset + returned_bytes` on."""
    content: str
    """The part."""
