"""The events of a run's journal. MCP clients rely on their types and data shapes."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class EventType(StrEnum):
    """The kinds of events."""

    RUN_STARTED = "run_started"
    STATUS_CHANGED = "status_changed"
    AGENT_MESSAGE = "agent_message"
    MESSAGE_ADDED = "message_added"
    REASONING = "reasoning"
    COMMAND_STARTED = "command_started"
    COMMAND_UPDATED = "command_updated"
    COMMAND_FINISHED = "command_finished"
    FILE_CHANGED = "file_changed"
    TOOL_STARTED = "tool_started"
    TOOL_FINISHED = "tool_finished"
    ARTIFACT_ADDED = "artifact_added"
    TODO_UPDATED = "todo_updated"
    INPUT_REQUIRED = "input_required"
    AUTH_REQUIRED = "auth_required"
    REJECTED = "rejected"
    RUN_COMPLETED = "run_completed"
    RUN_FAILED = "run_failed"


MAX_EVENT_BYTES = 65_536
"""The largest event that the gateway accepts, as JSON. The runner's events are well below it."""


AnyEventType = Annotated[
    EventType | Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")],
    Field(union_mode="left_to_right"),
]
"""The type of an event: an ``EventType``, or one that only a newer version knows."""


class NewEvent(BaseModel):
    """An event as the runner sends it. ``seq`` starts at 1 and has no gaps."""

    # The runner may be newer than the gateway.
    model_config = ConfigDict(extra="ignore")

    seq: Annotated[int, Field(ge=1)]
    event_id: Annotated[str, Field(min_length=1, max_length=64)]
    """Unique per event: an event may be sent twice, but no other event with the same seq."""
    ts: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
    """The time of the event: UTC, with milliseconds."""
    type: AnyEventType
    data: dict[str, Any]


class Event(BaseModel):
    """An event as readers see it."""

    model_config = ConfigDict(extra="forbid")

    seq: Annotated[int, Field(ge=1)]
    ts: str
    run_id: str
    session_id: str
    backend: str
    type: AnyEventType
    data: dict[str, Any]
