"""
Reads what a request names: its body, with size limits and timeouts, its query, a run's profile.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from anyio import SpooledTemporaryFile
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from agentrun.api.bounded_json import UnreadableJsonError, read
from agentrun.api.events import MAX_EVENT_BYTES, NewEvent
from agentrun.api.gateway import MAX_APPEND_BYTES, Append
from agentrun.api.v1alpha1 import AgentProfile, AgentRun
from mcp_server.gateway.ports import RunDirectory
from mcp_server.gateway.problems import RequestError, explain

MAX_STATUS_BYTES = 512 * 1024
"""The maximum size of a state or outcome: with the spec, it must fit into the API object."""

_BODY_SECONDS = 120
_SILENCE_SECONDS = 20
_IN_MEMORY = 64 * 1024
_M = TypeVar("_M", bound=BaseModel)


async def read_body(request: Request, limit: int, what: str) -> bytes:
    """Read a body. Raises RequestError if it is larger than ``limit`` bytes; ``what`` names it."""
    return b"".join([chunk async for chunk in _chunks(request, limit, what)])


@asynccontextmanager
async def received(
    request: Request, limit: int, what: str
) -> AsyncIterator["SpooledTemporaryFile[bytes]"]:
    """
    Receive a body of at most ``limit`` bytes; yield it as a file, deleted after the block.

    A body that is not small is spooled to disk, so that many slow senders take up neither memory
    nor the slots of others. Raises RequestError if the body is too large, late or incomplete.
    """
    try:
        async with SpooledTemporaryFile[bytes](_IN_MEMORY) as file:
            async for chunk in _chunks(request, limit, what):
                await file.write(chunk)
            await file.seek(0)
            yield file
    except OSError as error:
        raise RequestError(
            "unavailable", f"{what} cannot be stored: {error}. Try again."
        ) from error


async def _chunks(request: Request, limit: int, what: str) -> AsyncIterator[bytes]:
    too_large = RequestError(
        "too_large", f"{what} is larger than {limit} bytes. Send less per request."
    )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    size, clock = 0, asyncio.get_running_loop().time
    stream, end = request.stream(), clock() + _BODY_SECONDS
    try:
        while True:
            async with asyncio.timeout(min(_SILENCE_SECONDS, end - clock())):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            size += len(chunk)
            if size > limit:
                raise too_large
            yield chunk
    except TimeoutError as error:
        message = f"{what} stopped arriving, or took longer than {_BODY_SECONDS} s. Try again."
        raise RequestError("unavailable", message) from error
    except ClientDisconnect as error:
        raise RequestError(
            "invalid", f"{what} is incomplete: the connection was closed. Send it again."
        ) from error


async def read_model(request: Request, model: type[_M], limit: int) -> _M:
    """Parse a JSON body. Raises RequestError if it is invalid or larger than ``limit`` bytes."""
    body = await read_body(request, limit, f"The {model.__name__}")
    try:
        found = model.model_validate_json(body)
        read(body, model.__name__)
    except ValidationError as error:
        raise explain(error, model.__name__) from error
    except UnreadableJsonError as error:
        raise RequestError("invalid", f"{error} Correct it and send it again.") from error
    return found


async def read_events(request: Request) -> list[NewEvent]:
    """Read the events of an append. Raises RequestError if one is too large or invalid."""
    events = (await read_model(request, Append, MAX_APPEND_BYTES)).events
    for event in events:
        size = _size(event)
        if size > MAX_EVENT_BYTES:
            message = (
                f"Event {event.seq} is {size} bytes of JSON, more than {MAX_EVENT_BYTES}."
                " Move its large parts into blobs and send the batch again."
            )
            raise RequestError("too_large", message)
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
        message = f"Event {event.seq}: data contains a number that is not valid in JSON ({error})."
        raise RequestError("invalid", f"{message} Correct it and send the batch again.") from error
    return len(text.encode())


def read_number(request: Request, name: str, most: int) -> int:
    """
    Read a whole number from the query; 0 if it is not there.

    Raises RequestError if it is not one from 0 to ``most``.
    """
    value = request.query_params.get(name, "0")
    if not (value.isascii() and value.isdecimal()) or len(value) > 12 or int(value) > most:
        message = f"{name} must be a whole number from 0 to {most}, not {value[:64]!r}."
        raise RequestError("invalid", f"{message} Correct it and send the request again.")
    return int(value)


async def profile_of(runs: RunDirectory, run: AgentRun) -> AgentProfile:
    """Return the profile of a run. Raises RequestError if it does not exist."""
    namespace = run.metadata.namespace
    name = run.spec.profile_name
    profile = await runs.profile(namespace, name)
    if profile is None:
        message = f"Namespace {namespace} has no AgentProfile {name}. Create it, then try again."
        raise RequestError("not_found", message)
    return profile
