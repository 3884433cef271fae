"""Responses of an agent that do not conform to ACP, in words for a person."""

import json
from typing import Any

import acp
from pydantic import ValidationError

NEXT_STEP = "This is an error of the agent program: use another version of it."
_SHOWN = 200
_MOST = 3


def shown(value: Any) -> str:
    """Return a value as JSON, up to _SHOWN characters of it."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def describe(error: ValueError) -> str:
    """Name the fields of a response that are missing or invalid, with their values."""
    if not isinstance(error, ValidationError):
        return f"it cannot be read ({error})"
    found = error.errors(include_url=False, include_context=False)
    named = [_name(one["loc"], one["type"], one["input"]) for one in found[:_MOST]]
    left_out = f", and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return f"{', '.join(named)}{left_out}"


def with_its_stop_reason(error: ValueError) -> acp.PromptResponse:
    """
    Return the response to a prompt whose stop reason is invalid: as it is, or None if missing.

    Raises ``error`` if it is about anything else in the response.
    """
    if not isinstance(error, ValidationError):
        raise error
    found = error.errors(include_url=False, include_context=False)
    if any(one["loc"] not in ((), ("stopReason",)) for one in found):
        raise error
    given: Any = None if found[0]["type"] == "missing" or not found[0]["loc"] else found[0]["input"]
    return acp.PromptResponse.model_construct(stop_reason=given)


def _name(path: tuple[int | str, ...], kind: str, value: Any) -> str:
    if not path:
        return f"it is {shown(value)} and not an object"
    name = ".".join(map(str, path))
    return f"{name} is missing" if kind == "missing" else f"{name} is {shown(value)}"
