"""
The exchange of one client message with the MCP server.

A message that was certainly not delivered is retried for a limited time, because pods are replaced
and laptops resume from sleep. A message whose connection broke midway is not retried: it may have
been carried out, and only the caller knows whether it is safe to repeat.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx2

from agentrun import __version__
from agentrun.backoff import Backoff
from agentrun.cli.bridge.messages import AWAY, Json, JsonRpcMessage, failure, headers_of
from agentrun.cli.connection import ServerEndpoint
from agentrun.cli.problems import AwayError, CliError

_PAUSES = (0.2, 0.5, 1.0)
_OK_EMPTY = (202, 204)
_UNAUTHORIZED, _TOO_MANY, _UNAVAILABLE = 401, 429, (502, 503, 504)


@dataclass(frozen=True)
class RetryPolicy:
    """The seconds for which a message is retried, so that a new pod can become ready."""

    usual: float = 20.0
    start: float = 7.0
    """For `initialize`: some clients wait at most 10 s for its response."""


PATIENCE = RetryPolicy()


class LostError(CliError):
    """The connection broke while a response was pending."""


@dataclass
class Exchange:
    """Sends client messages to the MCP server."""

    connect: Callable[[], Awaitable[ServerEndpoint]]
    patience: RetryPolicy = PATIENCE
    version: str = ""
    """The protocol version that `initialize` negotiated."""

    async def carry(self, message: JsonRpcMessage) -> AsyncIterator[str | Json]:
        """Send ``message`` and yield the replies. A request always gets a final response."""
        is_answered = False
        try:
            async for reply in self._deliver(message):
                is_answered = is_answered or _answers(reply, message)
                self._notice(message, reply)
                yield reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)
            why = "the server closed the connection without an answer"
        except CliError as error:
            why = str(error)
        if message.is_request and not is_answered:
            yield failure(message.id, AWAY, why)

    async def _deliver(self, message: JsonRpcMessage) -> AsyncIterator[Json]:
        clock = asyncio.get_running_loop().time
        is_start = message.method == "initialize"
        deadline = clock() + (self.patience.start if is_start else self.patience.usual)
        backoff = Backoff(_PAUSES)
        while True:
            try:
                async for reply in self._post(message):
                    yield reply
                return
            except AwayError:
                pause = backoff.next()
                if clock() + pause > deadline:
                    raise
                await asyncio.sleep(pause)

    async def _post(self, message: JsonRpcMessage) -> AsyncIterator[Json]:
        endpoint = await self.connect()
        try:
            async with endpoint.http.stream(
                "POST",
                endpoint.url,
                content=json.dumps(message.content, ensure_ascii=False).encode(),
                headers=headers_of(message, self.version),
            ) as response:
                async for reply in _read(response, message, endpoint):
                    yield reply
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise AwayError(
                f"{endpoint.place} cannot be reached: {_describe(error)}; try again in a few"
                " seconds"
            ) from error
        except httpx2.HTTPError as error:
            raise LostError(
                f"the connection to AgentRun ({endpoint.place}) broke during {message.title}:"
                f" {_describe(error)}. The call may or may not have been executed. Call it again in"
                " a few seconds; after spawn_run, check list_runs first"
            ) from error

    def _notice(self, message: JsonRpcMessage, reply: Json) -> None:
        if message.method == "initialize" and _answers(reply, message):
            result = reply.get("result")
            if isinstance(result, dict):
                self.version = str(result.get("protocolVersion", ""))


async def refusal(endpoint: ServerEndpoint) -> str | None:
    """Send `initialize` to the MCP server. Return the error message, or None on success."""

    async def connect() -> ServerEndpoint:
        return endpoint

    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "agentrun", "version": __version__},
    }
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    async for reply in Exchange(connect).carry(JsonRpcMessage(hello)):
        message = json.loads(reply) if isinstance(reply, str) else reply
        if error := message.get("error"):
            return str(error.get("message") or error)
    return None


async def _read(
    response: httpx2.Response, message: JsonRpcMessage, endpoint: ServerEndpoint
) -> AsyncIterator[Json]:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code in _OK_EMPTY:
        return
    if response.is_success and kind == "text/event-stream":
        # Without a limit: the MCP server limits the size of its responses.
        async for event in httpx2.EventSource(response, max_event_size=None):
            if event.data and event.event == "message":
                yield _object(event.data)
        return
    body = (await response.aread()).decode(errors="replace")
    answer = _object(body) if kind == "application/json" else {}
    if answer.get("jsonrpc") == "2.0":
        # An error raised before the id was read has none; it can only belong to this request.
        yield answer if answer.get("id") is not None else {**answer, "id": message.id}
        return
    _refuse(response.status_code, _reason(answer, body), endpoint)


def _refuse(status: int, why: str, endpoint: ServerEndpoint) -> None:
    if status == _TOO_MANY or status in _UNAVAILABLE:
        raise AwayError(f"{endpoint.place} is temporarily unavailable ({status}): {why}")
    if status == _UNAUTHORIZED:
        raise CliError(
            f"{endpoint.place} does not accept the token: it must be valid and issued for the"
            " audience agentrun; set a new one in AGENTRUN_TOKEN, or unset it to use your"
            " kubeconfig"
        )
    raise CliError(f"{endpoint.place} answered with HTTP {status}: {why}")


def _reason(answer: Json, body: str) -> str:
    return str(answer.get("error_description") or answer.get("message") or body.strip()[:300])


def _object(text: str) -> Json:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _answers(reply: Json, message: JsonRpcMessage) -> bool:
    return "method" not in reply and reply.get("id") == message.id


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__
