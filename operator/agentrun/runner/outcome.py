"""The end of an attempt, and its representations as outcome and termination message."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from agentrun.api.v1alpha1 import Outcome, OutcomeState, Reason, Result, Usage
from agentrun.backends import EXTENSIONS
from agentrun.backends.backend import Backend

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


@dataclass(frozen=True)
class ProviderError:
    """The last answer of the model's provider, if it was an error."""

    status: int
    message: str
    is_own: bool = False
    """Whether the runner refused the request itself, and did not send it to the provider."""

    @property
    def is_refusal(self) -> bool:
        """Whether the provider refused the credentials."""
        return self.status in (401, 403) and not self.is_own


_ACP_AUTH_REQUIRED = -32000


def classify(code: int, message: str, data: Any, provider: ProviderError | None) -> AttemptError:
    """Classify an error answer of an agent: the provider's error takes precedence over it."""
    if provider and provider.is_refusal:
        return AttemptError(Reason.AUTH_REQUIRED, f"{provider.status}: {provider.message}")
    if provider:
        return AttemptError(Reason.PROVIDER_ERROR, f"{provider.status}: {provider.message}")
    details = _details(data)
    text = f"{message}: {details}" if details and details not in message else message
    if code in (_ACP_AUTH_REQUIRED, 401, 403):
        return AttemptError(Reason.AUTH_REQUIRED, text)
    return AttemptError(Reason.PROVIDER_ERROR, text)


def _details(data: Any) -> str:
    if isinstance(data, str):
        return data
    if isinstance(data, dict):
        for key in ("message", "details", "error"):
            if isinstance(data.get(key), str):
                return str(data[key])
    return ""


def is_provider_error(
    backend: Backend, final_response: str | None, provider: ProviderError | None
) -> bool:
    """
    Return whether a turn that an agent reports as finished ended with an error of the provider.

    Agents also send side requests to their provider, so the error has to appear in the response of
    an agent that does not report errors in its own words.
    """
    if provider is None:
        return False
    said = (final_response or "").strip()
    return backend.answers_with_errors or not said or provider.message in said


def end_of_turn(stop_reason: str, final_response: str | None) -> End:
    """Map the stop reason of a turn to the end of the run."""
    match stop_reason:
        case "end_turn":
            return End(OutcomeState.COMPLETED, Reason.COMPLETED, "", final_response)
        case "refusal":
            message = final_response or "The model declined to do the work."
            return End(OutcomeState.REJECTED, Reason.REFUSED, message, final_response)
        case "max_tokens" | "max_turn_requests":
            message = f"The agent stopped at its own limit: {stop_reason}."
            return End(OutcomeState.FAILED, Reason.LIMIT_REACHED, message, final_response)
    message = f"The agent ended its turn as {stop_reason!r}, which was not requested."
    return End(OutcomeState.FAILED, Reason.PROTOCOL_ERROR, message, final_response)


def end_of_error(error: BaseException) -> End:
    """Map an error to the end of an attempt; an unexpected one is logged with its traceback."""
    if isinstance(error, AttemptError):
        return End(OutcomeState.FAILED, error.reason, error.message)
    log.error("The runner failed", exc_info=error)
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
        result = result.model_copy(update={"summary": summary, "structured": None})
    message = (outcome.message or "")[:length] or None
    return outcome.model_copy(update={"message": message, "result": result})


def usage_of(response: dict[str, Any], cost: dict[str, Any] | None) -> Usage | None:
    """Read the usage of a turn from the response to its prompt."""
    counts = response.get("usage") or _token_counts(response)
    values: dict[str, Any] = {
        "input_tokens": _count(counts, "inputTokens", "input_tokens"),
        "cached_input_tokens": _count(counts, "cachedReadTokens"),
        "output_tokens": _count(counts, "outputTokens", "output_tokens"),
        "total_tokens": _count(counts, "totalTokens"),
    }
    amount = (cost or {}).get("amount")
    # An agent that does not know its model's price reports 0.
    if isinstance(amount, (int, float)) and (cost or {}).get("currency") == "USD" and amount > 0:
        values["cost_usd"] = f"{amount:.6f}".rstrip("0").rstrip(".")
    known = {key: value for key, value in values.items() if value is not None}
    return Usage.model_validate(known) if known else None


def add_usage(first: Usage | None, second: Usage | None) -> Usage | None:
    """Add the tokens of two turns. The cost is that of the whole conversation already."""
    if first is None or second is None:
        return second or first
    total = {
        name: (getattr(first, name) or 0) + (getattr(second, name) or 0)
        for name in ("input_tokens", "cached_input_tokens", "output_tokens", "total_tokens")
        if getattr(first, name) is not None or getattr(second, name) is not None
    }
    return Usage(**total, cost_usd=second.cost_usd or first.cost_usd)


def without_cost(usage: Usage | None, before: str | None) -> Usage | None:
    """Subtract the cost that a conversation had before the run continued it."""
    if usage is None or usage.cost_usd is None or before is None:
        return usage
    own = Decimal(usage.cost_usd) - Decimal(before)
    # A smaller cost: the agent started counting at zero, so it is the run's own cost.
    return usage if own < 0 else usage.model_copy(update={"cost_usd": f"{own:f}"})


def _token_counts(response: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = response.get("_meta") or {}
    return next((found for one in EXTENSIONS if (found := one.token_counts(meta))), {})


def _count(counts: Mapping[str, Any], *names: str) -> int | None:
    values = (counts.get(name) for name in names)
    return next((value for value in values if isinstance(value, int) and value >= 0), None)


def invalid_answer(problem: ValueError) -> AttemptError:
    """Build the error of an answer that does not satisfy the schema after its repair, either."""
    message = f"The final answer does not satisfy outputSchema: {problem}"
    return AttemptError(Reason.OUTPUT_INVALID, message)
