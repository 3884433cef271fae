"""
The connection to a remote agent: the official SDK, bounded, and errors that say what to do.

The SDK and protobuf take 12 MB, so this is imported by runs with a remote agent only.
"""

import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
from a2a.client import ClientConfig, ClientFactory
from a2a.client.card_resolver import parse_agent_card
from a2a.client.client import Client, ClientCallContext
from a2a.types import a2a_pb2
from google.protobuf.json_format import MessageToDict, ParseDict

from agentrun.api.v1alpha1 import Reason
from agentrun.runner.a2a.config import RemoteConfig, card_urls
from agentrun.runner.outcome import Failure

MESSAGE_BOUND = 8 * 1024 * 1024
"""The largest answer, or event of a stream, that is read."""
_TIMEOUT = httpx.Timeout(60, connect=10)
_STREAM_TIMEOUT = 300.0
_BLOCKING_TIMEOUT = 3600.0
_REFUSALS = (401, 403)


class RemoteError(Exception):
    """A request to the remote agent failed."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    def as_failure(self, what: str) -> Failure:
        """Say that the run cannot go on because of it."""
        if self.status in _REFUSALS:
            message = (
                f"{what}: {self}. Give the credentials it wants as backend_config.auth_token or"
                " headers, or in the Secret that the profile names as provider.keySecret."
            )
            return Failure(Reason.AUTH_REQUIRED, message)
        return Failure(Reason.PROVIDER_ERROR, f"{what}: {self}")


class Remote:
    """A remote agent whose card was read."""

    def __init__(
        self, client: Client, card: a2a_pb2.AgentCard, card_url: str, config: RemoteConfig
    ) -> None:
        self._client = client
        self._config = config
        self.card_url = card_url
        self.agent_url = config.agent_url
        self.name = card.name
        self.is_streaming = bool(card.capabilities.streaming)

    async def send(self, message: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Send a message, and yield what comes of it as long as the agent goes on telling."""
        request = a2a_pb2.SendMessageRequest()
        ParseDict(message, request.message)
        settings = request.configuration
        settings.accepted_output_modes.extend(self._config.accepted_output_modes)
        if self._config.history_length is not None:
            settings.history_length = self._config.history_length
        if not self.is_streaming:
            settings.return_immediately = not self._config.blocking
        seconds = _BLOCKING_TIMEOUT if self._config.blocking else None
        context = ClientCallContext(timeout=_STREAM_TIMEOUT if self.is_streaming else seconds)
        with _explained():
            async for event in self._client.send_message(request, context=context):
                yield MessageToDict(event)

    async def subscribe(self, task: str) -> AsyncIterator[dict[str, Any]]:
        """Follow a task again whose stream broke off."""
        context = ClientCallContext(timeout=_STREAM_TIMEOUT)
        request = a2a_pb2.SubscribeToTaskRequest(id=task)
        with _explained():
            async for event in self._client.subscribe(request, context=context):
                yield MessageToDict(event)

    async def get(self, task: str) -> dict[str, Any]:
        """Return a task as it is, in the form of an event."""
        request = a2a_pb2.GetTaskRequest(id=task)
        if self._config.history_length is not None:
            request.history_length = self._config.history_length
        with _explained():
            return {"task": MessageToDict(await self._client.get_task(request))}

    async def cancel(self, task: str) -> dict[str, Any]:
        """Cancel a task; returns it as it is then, in the form of an event."""
        with _explained():
            request = a2a_pb2.CancelTaskRequest(id=task)
            return {"task": MessageToDict(await self._client.cancel_task(request))}


@asynccontextmanager
async def connect(config: RemoteConfig, headers: Mapping[str, str]) -> AsyncIterator[Remote]:
    """Read the agent's card, and connect as it says. Failure if that cannot be."""
    # Not the SDK's list of authorities: the profile's are in the file that OpenSSL reads.
    transport = _Bounded(httpx.AsyncHTTPTransport(verify=ssl.create_default_context()))
    mounts = None
    async with httpx.AsyncClient(
        transport=transport, mounts=mounts, headers=dict(headers), timeout=_TIMEOUT
    ) as http:
        card_url, card = await _card(http, config)
        bindings = ["JSONRPC", "HTTP+JSON"]
        settings = ClientConfig(httpx_client=http, supported_protocol_bindings=bindings)
        try:
            client = ClientFactory(settings).create(card)
        except (ValueError, KeyError) as error:
            spoken = ", ".join(one.protocol_binding for one in card.supported_interfaces)
            message = (
                f"The agent of {card_url} offers no interface that AgentRun speaks (JSONRPC or"
                f" HTTP+JSON of A2A 1.0 or 0.3); its card names: {spoken or 'none'}."
            )
            raise Failure(Reason.PROTOCOL_ERROR, message) from error
        yield Remote(client, card, card_url, config)


async def _card(http: httpx.AsyncClient, config: RemoteConfig) -> tuple[str, a2a_pb2.AgentCard]:
    urls = card_urls(config)
    for url in urls:
        try:
            with _explained():
                response = await http.get(url)
                response.raise_for_status()
        except RemoteError as error:
            if error.status == 404 and url != urls[-1]:
                continue
            what = f"The agent's card cannot be read from {urls[0]}"
            failure = error.as_failure(what)
            if failure.reason is Reason.AUTH_REQUIRED:
                raise failure from error
            hint = ". Check backend_config.agent_url and agent_card_path, and that pods reach it."
            raise Failure(failure.reason, f"{what}: {error}{hint}") from error
        try:
            return url, parse_agent_card(json.loads(response.content))
        except Exception as error:
            message = (
                f"What {url} serves is no A2A agent card: {error}. Check backend_config.agent_url"
                " and agent_card_path."
            )
            raise Failure(Reason.PROTOCOL_ERROR, message) from error
    raise AssertionError("the last URL returns or raises")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn whatever the SDK raises on a foreign answer into a RemoteError."""
    try:
        yield
    except (GeneratorExit, RemoteError):
        raise
    except Exception as error:
        raise RemoteError(*_explain(error)) from error


def _explain(error: BaseException) -> tuple[str, int | None]:
    cause: BaseException | None = error
    text = str(error) or type(error).__name__
    while cause is not None:
        if isinstance(cause, httpx.HTTPStatusError):
            status = cause.response.status_code
            return f"{cause.request.url} answered {status}", status
        cause = cause.__cause__
    return text[:2000], None


class _Bounded(httpx.AsyncBaseTransport):
    """Reads no answer, and no line of a stream, that is larger than the bound."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _BoundedStream(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            newline = chunk.rfind(b"\n")
            size = size + len(chunk) if newline < 0 else len(chunk) - newline
            if size > MESSAGE_BOUND:
                raise httpx.ReadError(f"a message is larger than {MESSAGE_BOUND} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
