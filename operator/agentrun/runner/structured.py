"""The answer that has to satisfy a schema, and where it is found."""

import json
from typing import Any

from agentrun.api.v1alpha1 import Reason
from agentrun.runner.acp.mapping import FINAL_BOUND, Mapper
from agentrun.runner.acp.reading import is_deep
from agentrun.runner.answer_check import check_apart
from agentrun.runner.outcome import AttemptError


async def find_answer(mapper: Mapper, schema: dict[str, Any]) -> Any:
    """Return the turn's answer. ValueError says why there is none that satisfies the schema."""
    if mapper.answer is None and mapper.is_cut:
        raise ValueError(f"it is longer than {FINAL_BOUND} characters")
    text = mapper.final_response if mapper.answer is None else mapper.answer
    return await read_answer(text or "", schema)


async def read_answer(text: str, schema: dict[str, Any]) -> Any:
    """Return the answer in ``text``. ValueError if it does not satisfy, or cannot be passed on."""
    return await check_apart(text, schema)


def can_be_passed_on(answer: Any) -> bool:
    """Whether an answer is not too deep for those who read events and outcomes."""
    try:
        return not is_deep(json.dumps(answer).encode())
    except RecursionError:
        return False


def invalid(problem: ValueError) -> AttemptError:
    """Say that also the mended answer does not satisfy the schema."""
    message = f"The final answer does not satisfy outputSchema: {problem}"
    return AttemptError(Reason.OUTPUT_INVALID, message)
