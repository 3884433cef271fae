"""The observed status of an AgentRun: its phase, its agent's state, and its result."""

from typing import Annotated, Any, Literal

from pydantic import Field

from agentrun.api.base import Line, Model, Text, Time, Token
from agentrun.api.v1alpha1.meta import Condition
from agentrun.api.v1alpha1.vocabulary import REMOTE_A2A, AgentState, OutcomeState, Phase


class Question(Model):
    """A question of the agent."""

    id: Token
    """The ID of the question, to which an input refers as `questionID`."""
    kind: Literal["input", "auth", "permission"] = "input"
    """
    The kind of answer: `input` (an answer), `auth` (credentials) or `permission` (to do something).
    """
    text: Text = ""
    """The text of the question, as written by the agent."""
    options: Annotated[list["QuestionOption"], Field(max_length=32)] = []  # noqa: RUF012
    """The possible answers, if the agent offers a choice."""
    asked_at: Time | None = None
    """The time at which the question was asked."""


class QuestionOption(Model):
    """One of the possible answers to a question."""

    id: Token
    """The ID to answer with in order to choose this option."""
    name: Line = ""
    """The name of the option."""


class Usage(Model):
    """The resource usage of the run, as reported by its agent."""

    input_tokens: Annotated[int, Field(ge=0)] | None = None
    """The number of input tokens."""
    cached_input_tokens: Annotated[int, Field(ge=0)] | None = None
    """The number of input tokens that were read from the provider's cache."""
    output_tokens: Annotated[int, Field(ge=0)] | None = None
    """The number of output tokens."""
    total_tokens: Annotated[int, Field(ge=0)] | None = None
    """The total number of tokens."""
    cost_usd: Annotated[str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?$")] | None = None
    """The cost in US dollars as a decimal number, if the agent reports it."""


class Snapshot(Model):
    """The snapshot from which a later attempt, or a later run of the session, resumes."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^snapshots/[0-9]+$")]
    """
    The name among the run's blobs: `NAME/manifest.json`, and the parts that the manifest lists.
    """
    session_id: Token
    """The agent's own ID of the conversation in the snapshot."""
    acknowledged_input: Annotated[int, Field(ge=0)] = 0
    """
    The `seq` of the newest of `spec.inputs` whose answer is in the snapshot. Later inputs are sent
    again.
    """
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    """The total size of the parts in bytes."""
    taken_at: Time | None = None
    """The time at which the snapshot was taken."""


class Result(Model):
    """The result of a run."""

    summary: Text | None = None
    """The agent's final answer."""
    structured: Annotated[
        Any, Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    ] = None
    """
    The answer that satisfies `spec.outputSchema`; without a schema, a remote agent's first data.
    """
    branch: Annotated[str, Field(max_length=255)] | None = None
    """The branch that contains the change."""
    commit: Annotated[str, Field(max_length=64)] | None = None
    """The last commit of the change."""
    pushed: bool | None = None
    """Whether the branch was pushed to the remote."""
    files_changed: Annotated[int, Field(ge=0)] | None = None
    """The number of files that the change affects."""
    insertions: Annotated[int, Field(ge=0)] | None = None
    """The number of lines that the change adds."""
    deletions: Annotated[int, Field(ge=0)] | None = None
    """The number of lines that the change removes."""
    left_out: Annotated[list[Line], Field(max_length=21)] | None = None
    """
    What the change does not contain of the agent's work, and why: at most 20, then their number.
    """


class Outcome(Model):
    """The outcome of an attempt, as reported by the runner. The controller decides the phase."""

    attempt: Annotated[int, Field(ge=1)]
    """The number of the attempt that ended."""
    state: OutcomeState
    """The state in which the attempt ended."""
    reason: Token | None = None
    """The reason, one of the values of `status.reason`."""
    message: Text | None = None
    """A human-readable explanation of the outcome."""
    result: Result | None = None
    """The result of the attempt."""
    finished_at: Time | None = None
    """The time at which the attempt ended."""
    waiting: bool | None = None
    """With Interrupted: whether the run continues to wait for a person, without a pod."""


class RemoteRef(Model):
    """The identity of a run at its remote agent."""

    provider: Token = REMOTE_A2A
    """The backend of the run."""
    agent_url: Annotated[str, Field(max_length=2048)]
    """The agent's URL, as given in the run. The URL of its endpoint is in its agent card."""
    agent_name: Line = ""
    """The agent's name, from its agent card."""
    context_id: Line | None = None
    """The ID of the conversation (context) at the remote agent."""
    task_id: Line | None = None
    """The ID of the newest task at the remote agent."""


class AgentStatus(Model):
    """The status of the agent, as reported by the runner. Only the gateway writes it."""

    attempt: Annotated[int, Field(ge=1)] | None = None
    """The attempt that reported the status. If omitted, the newest attempt."""
    state: AgentState | None = None
    """The current state of the agent."""
    session_id: Token | None = Field(default=None)
    """The agent's own ID of the conversation."""
    question: Question | None = None
    """The question for which the agent waits for an answer."""
    acknowledged_input: Annotated[int, Field(ge=0)] | None = None
    """The `seq` of the newest of `spec.inputs` that the agent has received."""
    prompt_sent: bool | None = None
    """Whether the prompt has been sent to the agent."""
    usage: Usage | None = None
    """The resource usage so far."""
    remote_ref: RemoteRef | None = None
    """The identity of the run at its remote agent, for remote_a2a."""
    snapshot: Snapshot | None = None
    """The newest snapshot of the conversation and the workspace."""
    snapshot_error: Text | None = None
    """Why the newest snapshot could not be made. It takes precedence over an older `snapshot`."""
    outcome: Outcome | None = None
    """The outcome of the attempt."""

    @property
    def kept(self) -> Snapshot | None:
        """The snapshot to resume from; None if there is none, or a newer one could not be made."""
        return None if self.snapshot_error else self.snapshot


class AgentRunStatus(Model):
    """The observed status of a run, written by the operator, except for `agent`."""

    phase: Phase | None = None
    """The current phase. Completed, Failed, Cancelled and Rejected are final."""
    reason: Token | None = None
    """The reason for the phase, as one word in CamelCase."""
    message: Text | None = None
    """A human-readable explanation of the phase."""
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
    """The conditions PodScheduled, AgentReady, CancelRequested, PodTerminated and Finished."""
    pod_name: Annotated[str, Field(max_length=253)] | None = None
    """The name of the pod of the newest attempt."""
    pod_uid: Token | None = None
    """The uid of that pod."""
    node_name: Annotated[str, Field(max_length=253)] | None = None
    """The name of the node of that pod."""
    attempts: Annotated[int, Field(ge=0)] | None = None
    """The number of pods that were created for the run. Written before each is created."""
    continuations: Annotated[int, Field(ge=0)] | None = None
    """
    The number of attempts that resumed with an answer after the waiting pod had ended: no retries.
    """
    start_time: Time | None = None
    """The time at which the first pod was requested."""
    waiting_since: Time | None = None
    """The time since which the run waits for a person."""
    waited_seconds: Annotated[int, Field(ge=0)] | None = None
    """The seconds of all earlier waits for a person, which do not count towards the deadline."""
    completion_time: Time | None = None
    """The time at which the run finished."""
    cancelled_at: Time | None = None
    """The time at which it was confirmed that nothing of a cancelled run was left."""
    agent: AgentStatus | None = None
    """The status of the agent, as reported by the runner."""
    result: Result | None = None
    """The result of the run."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the spec that this status is based on."""
