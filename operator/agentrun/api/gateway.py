"""
The protocol between a run's runner and the gateway: HTTP and JSON, under ``/v1``.

Every request carries the runner's pod-bound Kubernetes token (audience ``agentrun-gateway``).
The token alone says which run and attempt speaks; nothing in a request does.

====== ============== ============================= =========================================
verb   path           body → answer                 refusals beside 400, 401 and 503
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
GET    /v1/snapshot/N → bytes                        404 not kept: what Task.snapshot names
====== ============== ============================= =========================================

403 ``fenced``: the token is valid, but a newer attempt of the run has begun, or the run is not
known. 410 ``sealed``: the run is over. Both mean: stop, nothing you send will be kept.
503 ``unavailable``: the store is away or full; keep everything and try again.
Every refusal is a Problem.

A run's pod keeps its runner while the gateway is upgraded, or rolled back, so each side may be
one minor version older or newer than the other:

- fields are only ever added, optional and with a default; who does not know a field ignores it;
- an event of a type that the gateway does not know is stored and served like any other;
- a new path is one that the runner can do without: an older gateway answers 404;
- the closed vocabularies (the agent's states, the outcome's, the codes of a Problem) do not grow:
  what is new is said in a new field.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentrun.api.events import NewEvent
from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1 import AgentProfileSpec, AgentRunSpec, Input, Snapshot

TOKEN_AUDIENCE = "agentrun-gateway"
RUNNER_ACCOUNT = "default"
"""The ServiceAccount of pods that name none, as those of runs: tokens of others are refused."""
"""The audience of runners' tokens."""

MAX_APPEND_BYTES = 4 * 1024 * 1024
"""The largest body of an append."""
MAX_MCP_BYTES = 1024 * 1024
"""The largest message of an agent to AgentRun's own tools."""
MAX_BATCH = 500
"""The most events in one append."""
MAX_BLOB_BYTES = 64 * 1024 * 1024
"""The largest blob."""
MAX_SNAPSHOT_PART_BYTES = 16 * 1024 * 1024
"""The largest file of a snapshot."""
SNAPSHOT_FILE = r"^(manifest\.json|part-[0-9]{4})$"
"""What the files of a snapshot are called."""
BLOB_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){0,3}$"
"""What a blob may be called: up to four path segments without dots in front."""

ProblemCode = Literal[
    "invalid", "unauthenticated", "fenced", "not_found", "conflict", "sealed", "too_large",
    "unavailable",
]  # fmt: skip


class _Message(BaseModel):
    # The other side may be newer, and what it adds must not break this one.
    model_config = ConfigDict(extra="ignore")


class Problem(_Message):
    """Why a request was refused."""

    error: ProblemCode
    message: str
    """What is wrong, and what to do about it."""
    last_seq: int | None = None
    """With ``conflict``: the journal's head."""


class Head(_Message):
    """Where a run's journal ends."""

    last_seq: Annotated[int, Field(ge=0)]
    sealed: bool = False


class Task(_Message):
    """What the runner is to do."""

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
    """The newest input an earlier attempt has dealt with; of the run's own snapshot, its newest."""
    resume_session_id: str | None = None
    """The agent's own id of the conversation to resume."""
    snapshot: Snapshot | None = None
    """
    What to go on from: of an earlier attempt of the run, else of the session's newest run. Its
    files are read from /v1/snapshot: `manifest.json`, and the parts that it lists.
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
    """The answers after the given number, and whether the run is still wanted."""

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
    The messages for the run's session that were not given to it yet, in order.

    Those that an earlier attempt or run has said to be delivered are left out. There may be
    more than one answer holds.
    """

    messages: list[MailboxMessage] = []
    delivered_seq: int = 0
    """Up to here they were delivered."""


class Delivered(_Message):
    """What the agent was given: all messages up to a number."""

    seq: Annotated[int, Field(ge=1)]


def blob_key(uid: str, name: str) -> str:
    """Return the key under which the store keeps the blob ``name`` of the run ``uid``."""
    return f"runs/{uid}/{name}"
