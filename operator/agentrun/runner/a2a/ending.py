"""The mapping of a remote task's end to the run's outcome. Pure."""

import json
from typing import Any

from agentrun.api.v1alpha1 import OutcomeState, Reason
from agentrun.runner.a2a.mapping import Mapper
from agentrun.runner.outcome import End
from agentrun.runner.structured import can_be_passed_on, read_answer


def end_of(task: Mapper) -> End:
    """Return how the run ends."""
    said, words = task.final_response, task.status_text
    match task.state:
        case "failed":
            message = words or "The remote agent's task failed; it gave no reason."
            return End(OutcomeState.FAILED, Reason.PROVIDER_ERROR, message, said)
        case "rejected":
            message = words or "The remote agent declined the task; it gave no reason."
            return End(OutcomeState.REJECTED, Reason.REFUSED, message, said)
        case "canceled":
            message = (
                words or "The remote agent's task was cancelled on its server, not by this run."
            )
            return End(OutcomeState.FAILED, Reason.PROVIDER_ERROR, message, said)
    data = task.structured
    structured = data if can_be_passed_on(data) else None
    return End(OutcomeState.COMPLETED, Reason.COMPLETED, "", said, structured)


def final_data(task: Mapper, state: OutcomeState) -> dict[str, Any]:
    """Return what the run's final event states of the task, as far as it is known."""
    told: dict[str, Any] = {"task_id": task.task_id, "context_id": task.context_id}
    if state is not OutcomeState.REJECTED:
        told["agent_url"] = task.agent_url
    told = {key: value for key, value in told.items() if value}
    return {**told, "artifacts": task.artifacts} if state is OutcomeState.COMPLETED else told


async def check_structured(task: Mapper, schema: dict[str, Any]) -> Any:
    """
    Return the structured answer: a data part, else JSON in the text.

    Raises ValueError if it does not match the schema.
    """
    data = task.structured
    text = json.dumps(data) if data is not None else task.final_response
    return await read_answer(text or "", schema)
