"""The statuses of a run in the tools and the journal. The phases of the kind are in v1alpha1."""

from enum import StrEnum
from typing import Any, Self

from pydantic_core import CoreSchema, core_schema


class Status(StrEnum):
    """The status of a run; the last four are terminal."""

    QUEUED = "queued"
    RUNNING = "running"
    INPUT_REQUIRED = "input_required"
    AUTH_REQUIRED = "auth_required"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"

    @property
    def is_terminal(self) -> bool:
        """Whether a run with this status has finished."""
        return self in TERMINAL_STATUSES

    @property
    def is_waiting(self) -> bool:
        """Whether a run with this status waits for a person."""
        return self in WAITING_STATUSES

    @property
    def is_live(self) -> bool:
        """Whether the agent of a run with this status is working, or waits for a person."""
        return self is Status.RUNNING or self.is_waiting

    @classmethod
    def parse(cls, text: object) -> Self | None:
        """Return the status of that name; None if this version has no such status."""
        return next((status for status in cls if status.value == text), None)

    def __repr__(self) -> str:
        """Return the quoted word: validation errors show it to clients."""
        return repr(self.value)

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        """Validate as a Literal, whose JSON Schema is inline; that of an enum is a reference."""
        return core_schema.literal_schema([*cls])


TERMINAL_STATUSES = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.REJECTED})
WAITING_STATUSES = frozenset({Status.INPUT_REQUIRED, Status.AUTH_REQUIRED})
