"""
The protocol between a run's runner and the gateway: HTTP and JSON, under ``/v1``.

Every request carries the runner's pod-bound Kubernetes token (audience ``agentrun-gateway``).
The token alone identifies the run and the attempt; nothing in a request does.

====== ============== ============================= =========================================
method path           request → response            errors besides 400, 401 and 503
====== ============== ============================= =========================================
GET    /v1/task       → Task                         410 sealed
GET    /v1/head       → Head
POST   /v1/events     Append → Head                 409 Conflict, 410 sealed, 413 too large
PUT    /v1/blobs/NAME bytes → Blob                  409 other bytes there, 410, 413
POST   /v1/state      AgentStatus → Head            410
POST   /v1/outcome    Outcome → Head                409 another outcome there, 410
GET    /v1/inputs     ?after=N&wait_ms=M → Inputs
GET    /v1/messages   ?after=N&wait_ms=M → Messages 410
POST   /v1/delivered  Delivered → Messages          410
POST   /v1/mcp        JSON-RPC → JSON-RPC or SSE    404 no profile, 410 sealed, 413 too large
GET    /v1/snapshot/N → bytes                        404 not stored: what Task.snapshot names
====== ============== ============================= =========================================

403 ``fenced``: the token is valid, but a newer attempt of the run has begun, or the run is not
known. 410 ``sealed``: the run has finished. In both cases the runner must stop: nothing that it
sends is stored. 503 ``unavailable``: the store is unavailable or full; the runner must retain
everything and retry. The body of every error is a Problem.

A run's pod retains its runner while the gateway is upgraded or rolled back, so each side may be
one minor version older or newer than the other:

- fields are only added, optional and with a default; a receiver ignores unknown fields;
- an event of a type that the gateway does not know is stored and served like any other;
- a new path must be optional for the runner: an older gateway responds with 404;
- the closed enumerations (the states of an agent and of an outcome, the codes of a Problem) are
  not extended: additions use a new field.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentrun.api.events import NewEvent
from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1 import AgentProfileSpec, AgentRunSpec, Input, Snapshot

TOKEN_AUDIENCE = "agentrun-gateway"
"""The audience of runners' tokens."""
RUNNER_ACCOUNT = "default"
"""
The ServiceAccount of the pods of runs, which name none; tokens of other accounts are rejected.
"""

MAX_APPEND_BYTES = 4 * 1024 * 1024
"""The largest body of an append request, in bytes."""
MAX_MCP_BYTES = 1024 * 1024
"""The largest request of an agent to AgentRun's own tools, in bytes."""
MAX_BATCH = 500
"""The most events in one append request."""
MAX_BLOB_BYTES = 64 * 1024 * 1024
"""The largest blob, in bytes."""
MAX_SNAPSHOT_PART_BYTES = 16 * 1024 * 1024
"""The largest file of a snapshot, in bytes."""
SNAPSHOT_FILE = r"^(manifest\.json|part-[0-9]{4})$"
"""The file names of a snapshot."""
BLOB_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){0,3}$"
"""The names of blobs: up to four path segments without leading dots."""

ProblemCode = Literal[
    "invalid", "unauthenticated", "fenced", "not_found", "conflict", "sealed", "too_large",
    "unavailable",
]  # fmt: skip


class _Message(BaseModel):
    # The peer may be newer, and fields that it adds must not break this side.
    model_config = ConfigDict(extra="ignore")


class Problem(_Message):
    """Why a request was refused."""

    error: ProblemCode
    message: str
    """What is wrong, and how to fix it."""
    last_seq: int | None = None
    """With ``conflict``: the journal's head."""


class Head(_Message):
    """The head of a run's journal."""

    last_seq: Annotated[int, Field(ge=0)]
    sealed: bool = False


class Task(_Message):
    """The work of a runner."""

    run_id: str
    namespace: str
    uid: str
    attempt: int
    session_id: str
    """The AgentSession's uid."""
    agent_name: str
    """The AgentSession's name."""
    spec: AgentRunSpec
    profile: AgentProfileSpec
    acknowledged_input: int = 0
    """The newest input in the run's own snapshot, else the newest of earlier attempts."""
    snapshot: Snapshot | None = None
    """
    The snapshot to resume from: of an earlier attempt of the run, else of the session's newest run.
    Its files are read from /v1/snapshot: `manifest.json`, and the parts that it lists.
    """
    head: Head


class Append(_Message):
    """Events to append, in order, without gaps."""

    events: Annotated[list[NewEvent], Field(min_length=1, max_length=MAX_BATCH)]


class Blob(_Message):
    """A stored blob."""

    name: str
    size: int
    sha256: str


class Inputs(_Message):
    """The inputs after a given number, and the desired state of the run."""

    inputs: list[Input]
    desired_state: Literal["Active", "Cancelled"]


class MailboxMessage(_Message):
    """A message from another agent, or from a person."""

    message_id: str
    seq: Annotated[int, Field(ge=1)]
    """Its number in the mailbox of the run's session."""
    body: AgentMessage
    created_at: str
    from_agent_name: str | None = None
    from_session_id: str | None = None
    metadata: dict[str, Any] | None = None


class Messages(_Message):
    """
    The messages for the run's session that were not delivered yet, in order.

    Messages that an earlier attempt or run reported as delivered are excluded. There may be more
    than one response contains.
    """

    messages: list[MailboxMessage] = []
    delivered_seq: int = 0
    """The number up to which messages were delivered."""


class Delivered(_Message):
    """A report that all messages up to a number were delivered to the agent."""

    seq: Annotated[int, Field(ge=1)]


def blob_key(uid: str, name: str) -> str:
    """Return the key under which the store keeps the blob ``name`` of the run ``uid``."""
    return f"runs/{uid}/{name}"
