"""The end of an attempt, and its representations as outcome and termination message."""

import errno
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agentrun.api.v1alpha1 import Outcome, OutcomeState, Reason, Result

MAX_TERMINATION_BYTES = 2048
"""The kubelet retains little more than this of a termination message."""
_MAX_TEXT = 32_000

log = logging.getLogger(__name__)


class AttemptError(Exception):
    """The attempt cannot succeed. Carries a reason and a message."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class End:
    """How the attempt ended, before the change is collected."""

    state: OutcomeState
    reason: Reason | None
    message: str = ""
    final_response: str | None = None
    structured: Any = None
    waiting: bool = False
    """Interrupted, because the pod is not kept until a person answers."""


WAITING_END = End(
    OutcomeState.INTERRUPTED,
    None,
    "There is no answer yet; the pod is not kept for it.",
    waiting=True,
)


def end_of_error(error: BaseException) -> End:
    """Map an error to the end of an attempt; an unexpected one is logged with its traceback."""
    if isinstance(error, AttemptError):
        return End(OutcomeState.FAILED, error.reason, error.message)
    log.error("The runner failed", exc_info=error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        message = f"The runner's disk is full: {error}"
        return End(OutcomeState.FAILED, Reason.RUNNER_FAILED, message)
    message = f"The runner failed: {type(error).__name__}: {error}"
    return End(OutcomeState.FAILED, Reason.RUNNER_FAILED, message)


def build_outcome(end: End, result: Result | None, attempt: int, now: datetime) -> Outcome:
    """Build the outcome for the gateway."""
    return Outcome(
        attempt=attempt,
        state=end.state,
        reason=end.reason.value if end.reason else None,
        message=end.message[:_MAX_TEXT] or None,
        result=result,
        finished_at=now,
        waiting=end.waiting or None,
    )


def termination_message(outcome: Outcome) -> str:
    """Return the outcome as JSON, small enough for the kubelet to retain it completely."""
    text = outcome.model_dump_json(by_alias=True, exclude_none=True)
    for length in (600, 200, 0):
        if len(text.encode()) < MAX_TERMINATION_BYTES:
            break
        text = _cut(outcome, length).model_dump_json(by_alias=True, exclude_none=True)
    return text


def _cut(outcome: Outcome, length: int) -> Outcome:
    result = outcome.result
    if result:
        summary = (result.summary or "")[:length] or None
        result = result.model_copy(
            update={"summary": summary, "structured": None, "left_out": None}
        )
    message = (outcome.message or "")[:length] or None
    return outcome.model_copy(update={"message": message, "result": result})


def invalid_answer(first: ValueError, again: ValueError) -> AttemptError:
    """Build the error of an answer that does not satisfy the schema after its repair, either."""
    message = f"The final answer does not satisfy outputSchema: {first}"
    if str(again) != str(first):
        message += f"\nNeither does the agent's correction: {again}"
    return AttemptError(Reason.OUTPUT_INVALID, message)
