"""AgentRun: one task for a coding agent."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from agentrun.api.base import (
    API_VERSION,
    Json,
    Line,
    Model,
    Name,
    ObjectName,
    Seconds,
    Token,
    name_rule,
)
from agentrun.api.messages import IN_CEL_NOT_BLANK, SAYS_NOTHING, AgentMessage
from agentrun.api.names import MAX_RUN_NAME
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


def _new(rule: str, message: str) -> dict[str, Any]:
    """Return a rule for new objects; those of earlier versions can still be changed."""
    return {"rule": f"oldSelf.hasValue() || {rule}", "message": message, "optionalOldSelf": True}


def _ended(run: str) -> str:
    """Return the CEL expression for whether ``run`` has finished."""
    return f"(has({run}.status) && has({run}.status.phase) && {run}.status.phase in {_TERMINAL})"


GIT_URL = "^((https?|ssh|git)://[^- ][^ ]*|[A-Za-z0-9._-]+@[A-Za-z0-9][A-Za-z0-9.-]*:[^ ]+)$"
"""The accepted URLs of git repositories; file: and ext: are not accepted."""
GIT_URL_REFUSED = (
    "a repository's url must begin with https://, http://, ssh:// or git://, or have the form"
    " USER@HOST:PATH"
)


class GitSource(Model):
    """A git repository to clone into the workspace."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    """
    The URL to clone: https://, http://, ssh:// or git://, or USER@HOST:PATH for ssh. The
    credentials are the profile's (`git.credentialsSecret`).
    """
    ref: Annotated[str, Field(max_length=255)] | None = None
    """The branch, tag or commit to check out. Defaults to the remote's HEAD."""
    branch: Annotated[str, Field(max_length=255)] | None = None
    """The branch for the change. Defaults to agentrun/RUN."""
    depth: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    """The number of commits to clone. Defaults to 1; 0 clones all."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        _rule(f"self.url.matches('{GIT_URL}')", GIT_URL_REFUSED),
    ]


class Workspace(Model):
    """The contents of /workspace, the agent's workspace."""

    git: GitSource | None = None
    """
    The git repository to clone. If neither `git` nor `volume` is set, the workspace starts empty.
    """
    volume: ObjectName | None = None
    """The PersistentVolumeClaim to mount as the workspace. The profile must allow it by name."""
    cwd: Annotated[str, Field(max_length=1024)] | None = None
    """
    The working directory of the agent: a path relative to /workspace, or an absolute path below it.
    Defaults to /workspace.
    """


class SessionSpec(Model):
    """The session (conversation) that a run belongs to."""

    mode: Literal["new", "resume"] = "new"
    """
    `new` starts a conversation; `resume` continues that of an AgentSession. Defaults to `new`.
    """
    name: Name | None = None
    """The name of the AgentSession. For a new session, defaults to the run's name."""


class ParentRun(Model):
    """The parent: the run whose agent requested this run."""

    name: Name
    """The name of the parent run."""
    uid: Token
    """The uid of the parent run."""
    depth: Annotated[int, Field(ge=1, le=16)] = 1
    """The number of runs above this run. Defaults to 1."""


class Timeouts(Model):
    """The time limits of a run. A limit that the run omits is taken from its profile."""

    active_deadline_seconds: Seconds | None = None
    """
    The duration in seconds that the run may be active; the time that it waits for a person does not
    count. Defaults to the operator's setting (4 hours, unless the operator is configured
    otherwise).
    """
    idle_timeout_seconds: Seconds | None = None
    """
    The duration in seconds that the pod of a run that waits for a person is kept. Defaults to 1800
    (30 minutes).
    """
    input_timeout_seconds: Seconds | None = None
    """
    The duration in seconds that a run may wait for a person before it fails. Defaults to 86400
    (24 hours).
    """
    termination_grace_period_seconds: Annotated[int, Field(ge=1, le=600)] | None = None
    """
    The duration in seconds that a run that is stopped may take to send its last events. Defaults to
    30.
    """


class Retry(Model):
    """The retry policy for pods that are lost through no fault of the agent."""

    limit: Annotated[int, Field(ge=0, le=10)] | None = None
    """
    The maximum number of retries after lost pods. Defaults to 1 if the prompt was not sent, else 0.
    """


# A rule can read only declared fields; all others are kept as they are.
BackendConfig = Annotated[
    dict[str, Any],
    Field(
        json_schema_extra={
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {
                "auth_token": {"type": "string", "description": "Refused: it is confidential."},
                "headers": {
                    "type": "object",
                    "description": "Refused: they may be confidential.",
                    "x-kubernetes-preserve-unknown-fields": True,
                },
            },
        }
    ),
]


class Input(Model):
    """An answer for a run that waits for input."""

    seq: Annotated[int, Field(ge=1, le=1_000_000)]
    """The sequence number of the input. Each number can be used once."""
    question_id: Token | None = None
    """The ID of the question that is answered (`status.agent.question.id`)."""
    message: Annotated[AgentMessage, Field(json_schema_extra={"not": SAYS_NOTHING})]
    """The answer. It must be more than white space."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        _rule("self == oldSelf", "an input cannot be changed: add another input with the next seq"),
    ]


class Cancellation(Model):
    """Who requested the cancellation of a run, and why."""

    requested_by: Line | None = None
    """The user, as authenticated by the API server."""
    reason: Line | None = None
    """The reason for the cancellation, as free text."""


class AgentRunSpec(Model):
    """
    The specification of a run, immutable except for `desiredState`, `cancellation` and `inputs`.
    """

    backend: Backend
    """The kind of agent that does the work."""
    role: Role = "worker"
    """
    The role of the agent, for information: it does not affect execution. Defaults to `worker`.
    """
    prompt: Annotated[str, Field(min_length=1, max_length=131_072)] | None = None
    """
    The task as text, at most 128 KiB. At least one of `prompt` and `inputMessage` is required.
    """
    input_message: AgentMessage | None = None
    """The task as a message with parts. If `prompt` is set as well, the prompt comes first."""
    profile: ObjectName | None = None
    """The AgentProfile to use. Defaults to the backend's name (for claude_code: claude-code)."""
    model: Token | None = None
    """The model to use; the profile must allow it. Defaults to the profile's `models.default`."""
    workspace: Workspace | None = None
    """The workspace of the agent. Defaults to the profile's workspace."""
    session: SessionSpec | None = None
    """The session that the run belongs to. Defaults to a new session."""
    resumed_from: Name | None = None
    """The finished run that this run continues or repeats."""
    parent: ParentRun | None = None
    """
    The run whose agent requested this run. If the parent is cancelled, this run is cancelled too.
    """
    output_schema: Json | None = None
    """A JSON Schema that the final answer (`status.result.structured`) must satisfy."""
    metadata: Json | None = None
    """Arbitrary data that is stored and returned unchanged, and is not interpreted."""
    backend_config: BackendConfig | None = None
    """
    Settings of the backend, such as `agent_url` for remote_a2a. It must not contain credentials.
    """
    timeouts: Timeouts | None = None
    """The time limits of the run. The profile's limits cannot be exceeded."""
    retry: Retry | None = None
    """The retry policy for lost pods."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """
    The duration in seconds that the AgentRun is kept after it has finished. Defaults to the
    operator's setting (7 days, unless configured otherwise). The journal of the run is retained.
    """
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
    """Answers to the agent's questions. Inputs can be added, but not changed or removed."""
    desired_state: DesiredState = DesiredState.ACTIVE
    """
    The desired state. Set it to Cancelled to stop the run, which is final. Defaults to Active.
    """
    cancellation: Cancellation | None = None
    """Who requested the cancellation, and why. It cannot be changed once set."""

    @property
    def profile_name(self) -> str:
        """The name of the profile to use."""
        return self.profile or default_profile(self.backend)

    IMMUTABLE: ClassVar[Sequence[str]] = (
        "backend", "role", "prompt", "inputMessage", "profile", "model", "workspace", "session",
        "resumedFrom", "parent", "outputSchema", "metadata", "backendConfig", "timeouts", "retry",
        "ttlSecondsAfterFinished",
    )  # fmt: skip
    RULES: ClassVar[Sequence[dict[str, Any]]] = [
        _rule(
            "has(self.prompt) || has(self.inputMessage)",
            "Either prompt or inputMessage is required",
        ),
        _new(
            f"!has(self.prompt) || has(self.inputMessage) || self.prompt.{IN_CEL_NOT_BLANK}",
            "Either prompt or inputMessage is required: the prompt is empty",
        ),
        _new(
            "!has(self.inputMessage) || self.inputMessage.parts.exists(part,"
            f" part.type != 'text' || (has(part.text) && part.text.{IN_CEL_NOT_BLANK}))",
            "inputMessage is empty: add a part with text or data",
        ),
        _new(
            "!has(self.session) || self.session.mode != 'resume' || has(self.session.name)",
            "session.name is required when session.mode is resume",
        ),
        _new(
            "!has(self.backendConfig)"
            " || (!has(self.backendConfig.auth_token) && !has(self.backendConfig.headers))",
            "backendConfig.auth_token and headers are not accepted: all users with permission to"
            " read runs would see them. Give them to spawn_run, or put them into a Secret that the"
            " profile names",
        ),
        _rule(
            "oldSelf.desiredState != 'Cancelled' || self.desiredState == 'Cancelled'",
            "desiredState cannot go back from Cancelled: create another AgentRun",
        ),
        _rule(
            "!has(self.cancellation) || self.desiredState == 'Cancelled'",
            "cancellation requires desiredState: Cancelled",
        ),
        _rule(
            "!has(oldSelf.cancellation)"
            " || (has(self.cancellation) && self.cancellation == oldSelf.cancellation)",
            "cancellation is immutable once set",
        ),
        _rule(
            "oldSelf.inputs.all(old, self.inputs.exists(new, new.seq == old.seq))",
            "inputs can only be added: an input cannot be removed",
        ),
    ]


def default_profile(backend: str) -> str:
    """Return the profile of a run that names none: the backend's name as a Kubernetes name."""
    return backend.replace("_", "-")


class AgentRun(Model):
    """One task for a coding agent: its specification and its observed status."""

    api_version: str = API_VERSION
    kind: str = "AgentRun"
    metadata: ObjectMeta = ObjectMeta()
    spec: AgentRunSpec
    status: AgentRunStatus = AgentRunStatus()

    RULES: ClassVar[Sequence[dict[str, Any]]] = [
        _rule(
            # The rest of the spec never changes anyway.
            f"!{_ended('oldSelf')}"
            " || (self.spec.desiredState == oldSelf.spec.desiredState"
            " && has(self.spec.cancellation) == has(oldSelf.spec.cancellation)"
            " && self.spec.inputs.size() == oldSelf.spec.inputs.size())",
            "the run has finished: its spec can no longer be changed",
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
            "a run whose cancellation was requested cannot become Completed",
        ),
        name_rule("AgentRun", MAX_RUN_NAME),
    ]

    @property
    def phase(self) -> Phase:
        """The phase; a run that the operator has not seen yet is Queued."""
        return self.status.phase or Phase.QUEUED

    @property
    def is_finished(self) -> bool:
        """Whether the run has finished."""
        return self.phase.is_terminal

    @property
    def session_name(self) -> str:
        """The name of the session, which is also the agent's name; a new one has the run's name."""
        return (self.spec.session.name if self.spec.session else None) or self.metadata.name

    @property
    def cwd(self) -> str | None:
        """The working directory that the run names, if any."""
        return self.spec.workspace.cwd if self.spec.workspace else None

    @property
    def parent_uid(self) -> str:
        """The uid of the run whose agent requested this run; empty if no agent did."""
        return self.spec.parent.uid if self.spec.parent else ""

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
