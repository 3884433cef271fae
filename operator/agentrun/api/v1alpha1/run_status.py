"""What is known of an AgentRun: where it is, what its agent says, and what came of it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from agentrun.api.base import Line, Model, Text, Time, Token
from agentrun.api.v1alpha1.meta import Condition
from agentrun.api.v1alpha1.vocabulary import AgentState, OutcomeState, Phase


class Question(Model):
    """What the agent wants to know."""

    id: Token
    """Names the question; an input answers it by this id."""
    kind: Literal["input", "auth", "permission"] = "input"
    """What is wanted: an answer, credentials, or leave to do something."""
    text: Text = ""
    """The question, as the agent put it."""
    options: Annotated[list["QuestionOption"], Field(max_length=32)] = []  # noqa: RUF012
    """The answers there are, where the agent named them."""
    asked_at: Time | None = None
    """When it was asked."""


class QuestionOption(Model):
    """One of the answers a question offers."""

    id: Token
    """What to answer to choose it."""
    name: Line = ""
    """What it means."""


class Usage(Model):
    """What the run consumed, as its agent reports it."""

    input_tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens read."""
    cached_input_tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens read from the provider's cache."""
    output_tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens written."""
    total_tokens: Annotated[int, Field(ge=0)] | None = None
    """All tokens."""
    cost_usd: Annotated[str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?$")] | None = None
    """The cost in US dollars, a decimal, where the agent says it."""


class Snapshot(Model):
    """What a later attempt, or a later run of the session, goes on from."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^snapshots/[0-9]+$")]
    """Where it is among the run's blobs: `NAME/manifest.json`, and the parts that it lists."""
    session_id: Token
    """The agent's own id of the conversation that is in it."""
    acknowledged_input: Annotated[int, Field(ge=0)] = 0
    """The newest `spec.inputs` whose answer is in it; what came after is given again."""
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    """How large its parts are together."""
    taken_at: Time | None = None
    """When."""


class Result(Model):
    """What came of a run."""

    summary: Text | None = None
    """The agent's final answer."""
    structured: Annotated[
        Any, Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    ] = None
    """The answer that satisfies `spec.outputSchema`; without one, a remote agent's first data."""
    branch: Annotated[str, Field(max_length=255)] | None = None
    """The branch that holds the change."""
    commit: Annotated[str, Field(max_length=64)] | None = None
    """The change's last commit."""
    pushed: bool | None = None
    """Whether the branch was pushed to the remote."""
    files_changed: Annotated[int, Field(ge=0)] | None = None
    """How many files the change touches."""
    insertions: Annotated[int, Field(ge=0)] | None = None
    """How many lines it adds."""
    deletions: Annotated[int, Field(ge=0)] | None = None
    """How many lines it removes."""


class Outcome(Model):
    """How the runner says that its attempt ended. A claim: the controller decides."""

    attempt: Annotated[int, Field(ge=1)]
    """The attempt that ended."""
    state: OutcomeState
    """How it ended."""
    reason: Token | None = None
    """A word from the reasons of `status.reason`."""
    message: Text | None = None
    """What a person needs to know."""
    result: Result | None = None
    """What came of it."""
    finished_at: Time | None = None
    """When."""
    waiting: bool | None = None
    """With Interrupted: the run goes on waiting for a person, without a pod."""


class RemoteRef(Model):
    """The remote agent's side of a run."""

    provider: Token = "remote_a2a"
    """The run's backend."""
    agent_url: Annotated[str, Field(max_length=2048)]
    """The agent's URL, as the run gives it: that of its endpoint is in its card."""
    agent_name: Line = ""
    """Its name, as its card says."""
    context_id: Line | None = None
    """The conversation's id there."""
    task_id: Line | None = None
    """The newest task's id there."""


class AgentStatus(Model):
    """What the runner says of its agent. Written by the gateway only."""

    attempt: Annotated[int, Field(ge=1)] | None = None
    """The attempt that says it. Without it, the newest."""
    state: AgentState | None = None
    """What the agent is doing."""
    session_id: Token | None = Field(default=None)
    """The agent's own id of the conversation."""
    question: Question | None = None
    """What the agent waits for."""
    acknowledged_input: Annotated[int, Field(ge=0)] | None = None
    """The newest `spec.inputs` the agent has been given."""
    prompt_sent: bool | None = None
    """Whether the agent has been given its task."""
    usage: Usage | None = None
    """What was consumed so far."""
    remote_ref: RemoteRef | None = None
    """Where the work is done, for remote_a2a."""
    snapshot: Snapshot | None = None
    """The newest snapshot of the conversation and the workspace."""
    snapshot_error: Text | None = None
    """Why the newest snapshot could not be made; it counts over an older `snapshot`."""
    outcome: Outcome | None = None
    """How the attempt ended."""

    @property
    def kept(self) -> Snapshot | None:
        """The snapshot to go on from; None if there is none, or it misses what came after it."""
        return None if self.snapshot_error else self.snapshot


class AgentRunStatus(Model):
    """What is. Written by the operator, but for `agent`."""

    phase: Phase | None = None
    """Where the run is. Completed, Failed, Cancelled and Rejected are final."""
    reason: Token | None = None
    """Why it is there, in one word."""
    message: Text | None = None
    """Why it is there, in a sentence."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = []  # noqa: RUF012
    """PodScheduled, AgentReady, CancelRequested, PodTerminated, Finished."""
    pod_name: Annotated[str, Field(max_length=253)] | None = None
    """The pod of the newest attempt."""
    pod_uid: Token | None = None
    """That pod's uid."""
    node_name: Annotated[str, Field(max_length=253)] | None = None
    """The node it runs on."""
    attempts: Annotated[int, Field(ge=0)] | None = None
    """How many pods the run has had. Written before each is created."""
    continuations: Annotated[int, Field(ge=0)] | None = None
    """How many of them went on with an answer after the pod of a wait was gone: no retries."""
    start_time: Time | None = None
    """When the first pod was asked for."""
    waiting_since: Time | None = None
    """Since when the run waits for a person."""
    waited_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long it waited for people before that; not counted against the deadline."""
    completion_time: Time | None = None
    """When it ended."""
    cancelled_at: Time | None = None
    """When it was known that nothing of a cancelled run was left."""
    agent: AgentStatus | None = None
    """What the runner says."""
    result: Result | None = None
    """What came of the run."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the spec that this status speaks of."""
