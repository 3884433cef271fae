"""Reading requests: bodies up to a limit, and numbers."""

import asyncio
import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from agentrun.api.events import MAX_EVENT_BYTES, NewEvent
from agentrun.api.gateway import MAX_APPEND_BYTES, Append
from mcp_server.gateway.problems import Refusal, explain

MAX_STATUS_BYTES = 512 * 1024
"""The largest state or outcome: with the spec it must fit what the API server stores."""

_BODY_SECONDS = 120
_M = TypeVar("_M", bound=BaseModel)


async def read_body(request: Request, limit: int, what: str) -> bytes:
    """Read a body of at most ``limit`` bytes; of a larger one, no more than that is kept."""
    too_large = Refusal("too_large", f"{what} is larger than {limit} bytes. Send less at once.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    chunks, size = list[bytes](), 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError as error:
        message = f"{what} did not arrive within {_BODY_SECONDS} s. Try again."
        raise Refusal("unavailable", message) from error
    except ClientDisconnect as error:
        raise Refusal("invalid", f"{what} broke off. Send it again.") from error
    return b"".join(chunks)


async def read_model(request: Request, model: type[_M], limit: int) -> _M:
    """Read a body of JSON."""
    body = await read_body(request, limit, f"The {model.__name__}")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise explain(error, model.__name__) from error


async def read_events(request: Request) -> list[NewEvent]:
    """Read the events of an append, none of them too large."""
    events = (await read_model(request, Append, MAX_APPEND_BYTES)).events
    for event in events:
        size = _size(event)
        if size > MAX_EVENT_BYTES:
            message = (
                f"Event {event.seq} is {size} bytes of JSON, more than {MAX_EVENT_BYTES}."
                " Move its large parts into blobs and send the batch again."
            )
            raise Refusal("too_large", message)
    return events


def _size(event: NewEvent) -> int:
    try:
        text = json.dumps(
            event.model_dump(),
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        )
    except ValueError as error:
        message = f"Event {event.seq}: data holds a number that JSON does not have ({error})."
        raise Refusal("invalid", f"{message} Correct it and send the batch again.") from error
    return len(text.encode())


def read_number(request: Request, name: str, most: int) -> int:
    """Read a number from the query; 0 if it is not there."""
    value = request.query_params.get(name, "0")
    if not (value.isascii() and value.isdecimal()) or len(value) > 12 or int(value) > most:
        message = f"{name} must be a whole number from 0 to {most}, not {value[:64]!r}."
        raise Refusal("invalid", f"{message} Correct it and ask again.")
    return int(value)
