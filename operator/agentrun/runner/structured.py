"""Finds and validates the answer that has to satisfy a schema."""

import json
from typing import Any

from agentrun.api.v1alpha1 import Reason
from agentrun.runner.acp.mapping import FINAL_BOUND, Mapper
from agentrun.runner.answer_check import check_apart
from agentrun.runner.outcome import AttemptError
from agentrun.runner.untrusted_json import is_deep


async def find_answer(mapper: Mapper, schema: dict[str, Any]) -> Any:
    """Return the turn's answer. Raises ValueError if none satisfies the schema."""
    if mapper.answer is None and mapper.is_cut:
        raise ValueError(f"it is longer than {FINAL_BOUND} characters")
    text = mapper.final_response if mapper.answer is None else mapper.answer
    return await read_answer(text or "", schema)


async def read_answer(text: str, schema: dict[str, Any]) -> Any:
    """Return the answer in ``text``. Raises ValueError if it is invalid or too deep."""
    return await check_apart(text, schema)


def can_be_passed_on(answer: Any) -> bool:
    """Whether an answer is not nested too deep for readers of events and outcomes."""
    try:
        return not is_deep(json.dumps(answer).encode())
    except RecursionError:
        return False


def invalid(problem: ValueError) -> AttemptError:
    """Build the error of an answer that does not satisfy the schema after its repair, either."""
    message = f"The final answer does not satisfy outputSchema: {problem}"
    return AttemptError(Reason.OUTPUT_INVALID, message)
