"""AgentRun: one piece of work for a coding agent."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agentrun.api.base import API_VERSION, Json, Line, Model, Name, Seconds, Token
from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1.meta import ObjectMeta
from agentrun.api.v1alpha1.run_status import AgentRunStatus
from agentrun.api.v1alpha1.vocabulary import (
    TERMINAL_PHASES,
    Backend,
    DesiredState,
    Phase,
    Role,
)

_TERMINAL = "[" + ", ".join(f"'{phase}'" for phase in sorted(TERMINAL_PHASES)) + "]"


def _rule(rule: str, message: str, **more: str) -> dict[str, str]:
    return {"rule": rule, "message": message, **more}


def _ended(run: str) -> str:
    """Say in CEL that ``run`` is over."""
    return f"(has({run}.status) && has({run}.status.phase) && {run}.status.phase in {_TERMINAL})"


GIT_URL = "^((https?|ssh|git)://[^- ][^ ]*|[A-Za-z0-9._-]+@[A-Za-z0-9][A-Za-z0-9.-]*:[^ ]+)$"
"""Which URLs of git repositories are taken; file: and ext: are not."""
GIT_URL_REFUSED = (
    "a repository's url must begin with https://, http://, ssh:// or git://, or have the form"
    " USER@HOST:PATH"
)


class GitSource(Model):
    """A git repository to clone into the workspace."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    """
    Where to clone from: https://, http://, ssh:// or git://, or USER@HOST:PATH for ssh. Its
    credentials are the profile's (`git.credentialsSecret`).
    """
    ref: Annotated[str, Field(max_length=255)] | None = None
    """The branch, tag or commit to start from. Default: the remote's HEAD."""
    branch: Annotated[str, Field(max_length=255)] | None = None
    """The branch the change is committed to. Default: agentrun/RUN."""
    depth: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    """How many commits of history to clone; 0 for all."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        _rule(f"self.url.matches('{GIT_URL}')", GIT_URL_REFUSED),
    ]


class Workspace(Model):
    """What the agent finds in /workspace."""

    git: GitSource | None = None
    """Clone a git repository. Without it, the workspace starts empty."""
    volume: Name | None = None
    """A PersistentVolumeClaim to mount as the workspace; the profile must allow it by name."""
    cwd: Annotated[str, Field(max_length=1024)] | None = None
    """The folder the agent works in: relative, or absolute below /workspace."""


class SessionSpec(Model):
    """The conversation a run belongs to."""

    mode: Literal["new", "resume"] = "new"
    """`new` begins a conversation, `resume` continues that of an AgentSession."""
    name: Name | None = None
    """The AgentSession's name. Default for a new one: the run's name."""


class ParentRun(Model):
    """The run whose agent asked for this one."""

    name: Name
    """Its name."""
    uid: Token
    """Its uid."""
    depth: Annotated[int, Field(ge=1, le=16)] = 1
    """How many runs are above this one."""


class Timeouts(Model):
    """How long things may take. What a run leaves out, its profile decides."""

    active_deadline_seconds: Seconds | None = None
    """How long the run may work. Time spent waiting for a person does not count."""
    idle_timeout_seconds: Seconds | None = None
    """How long the pod of a run that waits for a person is kept."""
    input_timeout_seconds: Seconds | None = None
    """How long a run may wait for a person before it fails."""
    termination_grace_period_seconds: Annotated[int, Field(ge=1, le=600)] | None = None
    """How long a run that is stopped may take to ship its last events."""


class Retry(Model):
    """What happens when the pod is lost through no fault of the agent."""

    limit: Annotated[int, Field(ge=0, le=10)] | None = None
    """How many more attempts a lost pod gets. Default: one, if the prompt had not been sent."""


class Input(Model):
    """An answer to a waiting run."""

    seq: Annotated[int, Field(ge=1, le=1_000_000)]
    """The input's number; each is used once."""
    question_id: Token | None = None
    """The question it answers: `status.agent.question.id`."""
    message: AgentMessage
    """The answer."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        _rule("self == oldSelf", "an input cannot be changed: add another with the next seq"),
    ]


class Cancellation(Model):
    """Who asked for a run to be cancelled, and why."""

    requested_by: Line | None = None
    """The user, as the API server knows them."""
    reason: Line | None = None
    """Why, in a person's words."""


class AgentRunSpec(Model):
    """What is asked. Immutable but for `desiredState`, `cancellation` and `inputs`."""

    backend: Backend
    """The kind of agent that does the work."""
    role: Role = "worker"
    """What the agent is here for. A label for people; it changes nothing in the execution."""
    prompt: Annotated[str, Field(min_length=1, max_length=131_072)] | None = None
    """The task, in words. At most 128 KiB."""
    input_message: AgentMessage | None = None
    """The task as a message with parts. With a prompt as well, the prompt comes first."""
    profile: Name | None = None
    """The AgentProfile to use. Default: the backend's name (for claude_code: claude-code)."""
    model: Token | None = None
    """The model to use; the profile says which are allowed."""
    workspace: Workspace | None = None
    """What the agent works on. Default: the profile's workspace."""
    session: SessionSpec | None = None
    """The conversation it belongs to. Default: a new one."""
    resumed_from: Name | None = None
    """The finished run that this one continues, or does again."""
    parent: ParentRun | None = None
    """The run whose agent asked for this one; cancelling the parent cancels it."""
    output_schema: Json | None = None
    """A JSON Schema that the final answer must satisfy (`status.result.structured`)."""
    metadata: Json | None = None
    """Kept and returned, never interpreted."""
    backend_config: Json | None = None
    """Settings of the backend, such as `agent_url` for remote_a2a. Never credentials."""
    timeouts: Timeouts | None = None
    """How long things may take."""
    retry: Retry | None = None
    """What happens when the pod is lost."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """How long the finished AgentRun is kept. Default: 7 days. Its journal stays."""
    inputs: Annotated[
        list[Input],
        Field(
            max_length=100,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["seq"],
            },
        ),
    ] = []  # noqa: RUF012 - pydantic copies defaults
    """Answers to the agent's questions. Only ever grows."""
    desired_state: DesiredState = DesiredState.ACTIVE
    """Set it to Cancelled to stop the run. There is no way back."""
    cancellation: Cancellation | None = None
    """Who cancelled, and why."""

    IMMUTABLE: ClassVar[Sequence[str]] = (
        "backend", "role", "prompt", "inputMessage", "profile", "model", "workspace", "session",
        "resumedFrom", "parent", "outputSchema", "metadata", "backendConfig", "timeouts", "retry",
        "ttlSecondsAfterFinished",
    )  # fmt: skip
    RULES: ClassVar[Sequence[dict[str, str]]] = [
        _rule(
            "has(self.prompt) || has(self.inputMessage)",
            "Either prompt or inputMessage is required",
        ),
        _rule(
            "oldSelf.desiredState != 'Cancelled' || self.desiredState == 'Cancelled'",
            "desiredState cannot go back from Cancelled: create another AgentRun",
        ),
        _rule(
            "!has(self.cancellation) || self.desiredState == 'Cancelled'",
            "cancellation goes with desiredState: Cancelled",
        ),
        _rule(
            "!has(oldSelf.cancellation)"
            " || (has(self.cancellation) && self.cancellation == oldSelf.cancellation)",
            "cancellation is set once",
        ),
        _rule(
            "oldSelf.inputs.all(old, self.inputs.exists(new, new.seq == old.seq))",
            "inputs only grow: an input cannot be taken back",
        ),
    ]


class AgentRun(Model):
    """One piece of work for a coding agent: what is asked, and how far it has come."""

    api_version: str = API_VERSION
    kind: str = "AgentRun"
    metadata: ObjectMeta = ObjectMeta()
    spec: AgentRunSpec
    status: AgentRunStatus = AgentRunStatus()

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        _rule(
            # The rest of the spec never changes anyway.
            f"!{_ended('oldSelf')}"
            " || (self.spec.desiredState == oldSelf.spec.desiredState"
            " && has(self.spec.cancellation) == has(oldSelf.spec.cancellation)"
            " && self.spec.inputs.size() == oldSelf.spec.inputs.size())",
            "the run is finished: its spec can no longer change",
        ),
        _rule(
            # On the root, because a rule on the status is not asked when the status is removed.
            f"!{_ended('oldSelf')} || (has(self.status) && has(self.status.phase)"
            " && self.status.phase == oldSelf.status.phase)",
            "the phase of a finished run is final",
        ),
        _rule(
            "self.spec.desiredState != 'Cancelled' || !has(self.status) || !has(self.status.phase)"
            f" || self.status.phase != 'Completed' || {_ended('oldSelf')}",
            "a run whose cancellation was asked for cannot become Completed",
        ),
    ]

    @property
    def phase(self) -> Phase:
        """The phase; a run that the operator has not seen yet is Queued."""
        return self.status.phase or Phase.QUEUED

    @property
    def attempts(self) -> int:
        """How many pods the run has had."""
        return self.status.attempts or 0

    @property
    def newest_input(self) -> int:
        """The number of the newest answer; 0 before the first."""
        return max((item.seq for item in self.spec.inputs), default=0)

    @property
    def is_cancel_requested(self) -> bool:
        """Whether somebody asked for the run to be cancelled."""
        return self.spec.desired_state is DesiredState.CANCELLED

    @property
    def created(self) -> datetime | None:
        """When the API server accepted the run."""
        return self.metadata.creation_timestamp
