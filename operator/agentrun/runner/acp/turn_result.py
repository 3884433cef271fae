"""The result of a prompt turn: how it ends the run, which error it was, and what it used."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from agentrun.api.v1alpha1 import OutcomeState, Reason, Usage
from agentrun.backends import EXTENSIONS
from agentrun.backends.backend import Backend
from agentrun.runner.acp.conformity import NEXT_STEP, shown
from agentrun.runner.outcome import AttemptError, End
from agentrun.runner.provider.proxy import ProviderError
from agentrun.runner.snapshot.manifest import ResumePoint

AUTH_CODES = (-32000, 401, 403)
"""The codes of error answers that ask for credentials: ACP's, and those of HTTP."""


def classify(code: int, message: str, data: Any, provider: ProviderError | None) -> AttemptError:
    """Classify an error answer of an agent: the provider's error takes precedence over it."""
    if provider and provider.is_refusal:
        return AttemptError(Reason.AUTH_REQUIRED, f"{provider.status}: {provider.message}")
    if provider:
        return AttemptError(Reason.PROVIDER_ERROR, f"{provider.status}: {provider.message}")
    details = _details(data)
    text = f"{message}: {details}" if details and details not in message else message
    if code in AUTH_CODES:
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
    response = (final_response or "").strip()
    return backend.answers_with_errors or not response or provider.message in response


def end_of_turn(stop_reason: Any, final_response: str | None) -> End:
    """Map the stop reason of a turn, which may be any value or None, to the end of the run."""
    match stop_reason:
        case "end_turn":
            return End(OutcomeState.COMPLETED, Reason.COMPLETED, "", final_response)
        case "refusal":
            message = final_response or "The model declined to do the work. Rephrase the request."
            return End(OutcomeState.REJECTED, Reason.REFUSED, message, final_response)
        case "max_tokens" | "max_turn_requests":
            remedy = "Request less at once, or raise the limit in the agent's configuration."
            message = f"The agent stopped at its own limit: {stop_reason}. {remedy}"
            return End(OutcomeState.FAILED, Reason.LIMIT_REACHED, message, final_response)
        case "cancelled":
            what = "The agent ended its turn as 'cancelled', which was not requested."
        case None:
            what = "The agent ended its turn without a stop reason, which ACP requires."
        case _:
            what = (
                f"The agent ended its turn with the stop reason {shown(stop_reason)}, which ACP"
                " does not define."
            )
    message = f"{what} {NEXT_STEP}"
    return End(OutcomeState.FAILED, Reason.PROTOCOL_ERROR, message, final_response)


_UNANSWERED = (
    "The agent ended its turn, but its model did nothing and said nothing: the agent may have taken"
    " the prompt for one of its own commands, or its model returned an empty answer. Rephrase the"
    " prompt, or run it again."
)


def is_unanswered(
    backend: Backend, final_response: str | None, usage: Usage | None, was_asked: bool | None
) -> bool:
    """
    Return whether the model had no part in a turn in which the agent did nothing but speak.

    ``was_asked`` is whether the model's provider received a request; None if that is not known. A
    known agent that asks its model in another way reports what that used.
    """
    if not (final_response or "").strip():
        return True
    used = usage and (usage.input_tokens or usage.output_tokens or usage.total_tokens)
    return backend.provider_api is not None and was_asked is False and not used


def unanswered(end: End) -> End:
    """Return the end of a run whose model had no part in it; ``end`` is that of its turn."""
    said = f" The agent itself said: {end.final_response}" if end.final_response else ""
    message = f"{_UNANSWERED}{said}"
    return replace(end, state=OutcomeState.FAILED, reason=Reason.NO_ANSWER, message=message)


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


@dataclass(frozen=True)
class RunUsage:
    """What a run has used so far, and what its conversation has cost."""

    used: Usage | None = None
    cost: str | None = None
    """The cost of the conversation, earlier runs included."""
    cost_before: str | None = None
    """The cost that the conversation had when the run continued it."""

    @classmethod
    def resumed(cls, origin: ResumePoint) -> "RunUsage":
        """Continue from the usage and the cost of the conversation so far."""
        cost = origin.manifest.cost_usd
        return cls(origin.manifest.usage, cost) if origin.is_own else cls(None, cost, cost)

    def plus(self, turn: Usage | None) -> "RunUsage":
        """Add a turn's tokens. Its cost is that of the whole conversation already."""
        used = _add(self.used, _without_cost(turn, self.cost_before))
        return replace(self, used=used, cost=(turn and turn.cost_usd) or self.cost)


def _add(first: Usage | None, second: Usage | None) -> Usage | None:
    if first is None or second is None:
        return second or first
    total = {
        name: (getattr(first, name) or 0) + (getattr(second, name) or 0)
        for name in ("input_tokens", "cached_input_tokens", "output_tokens", "total_tokens")
        if getattr(first, name) is not None or getattr(second, name) is not None
    }
    return Usage(**total, cost_usd=second.cost_usd or first.cost_usd)


def _without_cost(usage: Usage | None, before: str | None) -> Usage | None:
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
