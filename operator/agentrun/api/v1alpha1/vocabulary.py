"""The closed vocabularies of the API: phases, reasons, conditions, backends."""

from enum import StrEnum
from typing import Literal

from agentrun.api.status import Status

Backend = Literal["codex", "claude_code", "opencode", "gemini", "acp", "remote_a2a"]
REMOTE_A2A: Backend = "remote_a2a"
Role = Literal["planner", "worker", "reviewer"]


class DesiredState(StrEnum):
    """The desired state of a run. It can only change from Active to Cancelled."""

    ACTIVE = "Active"
    CANCELLED = "Cancelled"


class Phase(StrEnum):
    """The phase of a run. The last four are terminal: they never change."""

    QUEUED = "Queued"
    """Accepted; no pod yet."""
    STARTING = "Starting"
    """The pod exists; the agent has not begun to work."""
    RUNNING = "Running"
    """The agent is working."""
    INPUT_REQUIRED = "InputRequired"
    """The agent asked a question (`status.agent.question`) and waits for an input."""
    AUTH_REQUIRED = "AuthRequired"
    """The provider or a remote agent requires other credentials."""
    CANCELLING = "Cancelling"
    """The run is being stopped; some of its processes may still be running."""
    COMPLETED = "Completed"
    """The agent finished its turn."""
    FAILED = "Failed"
    """The run ended without finishing; `reason` and `message` explain why."""
    CANCELLED = "Cancelled"
    """Stopped on request. No process of the run is left."""
    REJECTED = "Rejected"
    """The agent, or the platform, declined the work."""

    @property
    def is_terminal(self) -> bool:
        """Whether a run in this phase has finished."""
        return self in TERMINAL_PHASES

    @property
    def is_waiting(self) -> bool:
        """Whether a run in this phase waits for a person."""
        return self in (Phase.INPUT_REQUIRED, Phase.AUTH_REQUIRED)

    @property
    def status(self) -> Status:
        """The word the MCP tools use for this phase; `Starting` reads as `queued`."""
        return Status.QUEUED if self is Phase.STARTING else Status[self.name]


TERMINAL_PHASES = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED, Phase.REJECTED})


class AgentState(StrEnum):
    """The last state of the agent that the runner reported; `status.agent.state`."""

    PREPARING = "Preparing"
    """The workspace is being made ready."""
    WORKING = "Working"
    """A prompt turn is in progress."""
    INPUT_REQUIRED = "InputRequired"
    """The agent waits for an answer."""
    AUTH_REQUIRED = "AuthRequired"
    """The agent waits for credentials."""
    FINISHED = "Finished"
    """The outcome is known."""


class OutcomeState(StrEnum):
    """The state in which an attempt ended, as reported by its runner."""

    COMPLETED = "Completed"
    FAILED = "Failed"
    REJECTED = "Rejected"
    INTERRUPTED = "Interrupted"
    """The runner received SIGTERM before the turn ended."""


class ConditionType(StrEnum):
    """The conditions of a run, for `kubectl wait --for=condition=...`."""

    POD_SCHEDULED = "PodScheduled"
    """The run's pod has a node."""
    AGENT_READY = "AgentReady"
    """The agent's session is open and the prompt was sent."""
    CANCEL_REQUESTED = "CancelRequested"
    """A user, or a limit, requested that the run stops."""
    POD_TERMINATED = "PodTerminated"
    """No container of the run is left. Unknown: its node cannot be reached."""
    FINISHED = "Finished"
    """The run has finished, with whatever outcome."""


class Reason(StrEnum):
    """Why a run is in its phase; `status.reason`. Each states what happened, not what to do."""

    # on the way
    ACCEPTED = "Accepted"
    """The operator has accepted the run; its pod is created next."""
    SESSION_BUSY = "SessionBusy"
    """An earlier run of the same session is still active."""
    POD_PENDING = "PodPending"
    """The pod exists and waits for a node, an image or a container."""
    SCHEDULING_GATED = "SchedulingGated"
    """The pod has scheduling gates, as those of a queue, that nobody has removed yet."""
    PREPARING = "Preparing"
    """The workspace is being made ready."""
    WORKING = "Working"
    """The agent is working."""
    FINISHING = "Finishing"
    """The agent has finished; its pod is being closed."""
    QUESTION = "Question"
    """The agent asked a question."""
    # ends
    COMPLETED = "Completed"
    """The agent finished its turn."""
    CANCEL_REQUESTED = "CancelRequested"
    """`spec.desiredState` is Cancelled."""
    DELETED = "Deleted"
    """The AgentRun was deleted before it had finished."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """The run worked longer than `activeDeadlineSeconds`."""
    INPUT_TIMEOUT = "InputTimeout"
    """Nobody answered within `inputTimeoutSeconds`."""
    START_TIMEOUT = "StartTimeout"
    """The pod's containers did not start within the operator's timeouts."""
    PROFILE_NOT_FOUND = "ProfileNotFound"
    """The AgentProfile does not exist in the run's namespace."""
    PROFILE_REFUSED = "ProfileRefused"
    """The profile does not allow what the run requests (model, volume, backend, repository)."""
    PROFILE_INVALID = "ProfileInvalid"
    """The profile requests what is not possible (for example a CA bundle without certificates)."""
    UNREADABLE = "Unreadable"
    """The AgentRun cannot be read: it is nested too deep, or contains a NUL."""
    OUTPUT_SCHEMA_INVALID = "OutputSchemaInvalid"
    """No answer can be checked against `outputSchema`, for example because a `$ref` is unknown."""
    SESSION_NOT_FOUND = "SessionNotFound"
    """The run resumes an AgentSession that does not exist."""
    SESSION_NOT_RESUMABLE = "SessionNotResumable"
    """The session has no conversation to resume."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    """A ResourceQuota or LimitRange refused the pod."""
    POD_REJECTED = "PodRejected"
    """Admission or validation refused the pod."""
    FAILED_CREATE = "FailedCreate"
    """The API server does not create the pod or the session, for a cause that may pass."""
    POD_NAME_TAKEN = "PodNameTaken"
    """Another object's pod has the name this run's pod needs."""
    UNSCHEDULABLE = "Unschedulable"
    """No node can take the pod."""
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """An image cannot be pulled, or does not exist."""
    SECRET_MISSING = "SecretMissing"
    """A Secret, ConfigMap or key that the profile names does not exist."""
    VOLUME_UNAVAILABLE = "VolumeUnavailable"
    """A PersistentVolumeClaim does not exist or has no volume, or a volume cannot be mounted."""
    CONTAINER_START_FAILED = "ContainerStartFailed"
    """A container could not be created or started."""
    CLONE_FAILED = "CloneFailed"
    """The git workspace could not be prepared."""
    AGENT_NOT_FOUND = "AgentNotFound"
    """The image has no such agent program."""
    AGENT_EXITED = "AgentExited"
    """The agent program ended before its turn did."""
    AGENT_UNRESPONSIVE = "AgentUnresponsive"
    """The agent did not answer the protocol's handshake."""
    PROTOCOL_ERROR = "ProtocolError"
    """The agent broke the protocol, for instance with a line beyond the limit."""
    PROVIDER_ERROR = "ProviderError"
    """The model's provider answered with an error; `message` is the provider's."""
    AUTH_REQUIRED = "AuthRequired"
    """The model's provider refused the credentials."""
    REFUSED = "Refused"
    """The model declined to do the work."""
    LIMIT_REACHED = "LimitReached"
    """The agent stopped at its own limit of tokens or turns."""
    NO_ANSWER = "NoAnswer"
    """The agent ended its turn without an answer of its model, and without having done anything."""
    OUTPUT_INVALID = "OutputInvalid"
    """The final answer does not satisfy `outputSchema`."""
    PUSH_FAILED = "PushFailed"
    """The change was made but could not be pushed; the patch artifact contains it."""
    PUSH_REFUSED = "PushRefused"
    """The profile does not allow pushing the change there; the patch artifact contains it."""
    STORE_UNAVAILABLE = "StoreUnavailable"
    """The runner could not deliver its events within its time limit."""
    RUNNER_FAILED = "RunnerFailed"
    """The runner ended without an outcome."""
    OUT_OF_MEMORY = "OutOfMemory"
    """A container exceeded its memory limit."""
    EVICTED = "Evicted"
    """The kubelet or an operator of the cluster evicted the pod."""
    POD_DELETED = "PodDeleted"
    """The pod was deleted by someone other than the operator."""
    NODE_LOST = "NodeLost"
    """The pod's node cannot be reached."""
