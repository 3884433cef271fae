"""
The connection to a remote agent: the SDK's requests, with timeouts, over an HTTP client of its own.

Credentials are sent only to the agent they were given for: neither to other origins that its card
names nor to the target of a redirect. The proxy and the certificate authorities are those of the
environment, and so the profile's.

The SDK and protobuf take some megabytes, so this is imported by runs with a remote agent only.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from a2a.client.client import Client, ClientCallContext
from a2a.types import a2a_pb2
from google.protobuf.json_format import MessageToDict, ParseDict

from agentrun.api.remote import RemoteConfig
from agentrun.runner.a2a import card
from agentrun.runner.a2a.config import origin
from agentrun.runner.a2a.errors import ResponseTooLargeError, explained

MESSAGE_BOUND = 8 * 1024 * 1024
"""The maximum size of a response, or of an event of a stream, in bytes."""
_TIMEOUT = httpx.Timeout(60, connect=10)
_STREAM_TIMEOUT = 300.0
"""A stream that is silent for longer is subscribed to again."""
_BLOCKING_TIMEOUT = 3600.0


class Remote:
    """A remote agent."""

    def __init__(self, client: Client, found: a2a_pb2.AgentCard, config: RemoteConfig) -> None:
        self._client = client
        self._origin_of_url = card.origin_of_url(found, config)
        self._config = config
        self.agent_url = config.agent_url
        self.name = found.name
        self.is_streaming = bool(found.capabilities.streaming)

    async def send(self, message: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Send a message, and yield the events of the response until it ends."""
        with explained(self._origin_of_url):
            request = self._request(message)
            seconds = _BLOCKING_TIMEOUT if self._config.blocking else None
            context = ClientCallContext(timeout=_STREAM_TIMEOUT if self.is_streaming else seconds)
            async for event in self._client.send_message(request, context=context):
                yield MessageToDict(event)

    async def subscribe(self, task: str) -> AsyncIterator[dict[str, Any]]:
        """Subscribe to a task again after its stream was interrupted."""
        context = ClientCallContext(timeout=_STREAM_TIMEOUT)
        request = a2a_pb2.SubscribeToTaskRequest(id=task)
        with explained(self._origin_of_url):
            async for event in self._client.subscribe(request, context=context):
                yield MessageToDict(event)

    async def get(self, task: str) -> dict[str, Any]:
        """Return a task's current state, in the form of an event."""
        request = a2a_pb2.GetTaskRequest(id=task)
        if self._config.history_length is not None:
            request.history_length = self._config.history_length
        with explained(self._origin_of_url):
            return {"task": MessageToDict(await self._client.get_task(request))}

    async def cancel(self, task: str) -> dict[str, Any]:
        """Cancel a task; return its state after that, in the form of an event."""
        with explained(self._origin_of_url):
            request = a2a_pb2.CancelTaskRequest(id=task)
            return {"task": MessageToDict(await self._client.cancel_task(request))}

    def _request(self, message: dict[str, Any]) -> a2a_pb2.SendMessageRequest:
        request = a2a_pb2.SendMessageRequest()
        ParseDict(message, request.message)
        settings = request.configuration
        settings.accepted_output_modes.extend(self._config.accepted_output_modes)
        if self._config.history_length is not None:
            settings.history_length = self._config.history_length
        if not self.is_streaming:
            settings.return_immediately = not self._config.blocking
        return request


@asynccontextmanager
async def connect(config: RemoteConfig, credentials: Mapping[str, str]) -> AsyncIterator[Remote]:
    """Read the agent's card, and connect as it specifies. Raises AttemptError if that fails."""
    async with make_http_client(credentials, config.agent_url) as opened:
        found = await card.read_card(opened, config)
        client = card.make_client(opened, found, config, bool(credentials))
        yield Remote(client, found, config)


def make_http_client(credentials: Mapping[str, str], agent_url: str) -> httpx.AsyncClient:
    """Make a client that follows no redirects and sends credentials to ``agent_url``'s origin."""

    async def identify(request: httpx.Request) -> None:
        if origin(str(request.url)) == origin(agent_url):
            request.headers.update(credentials)

    # Not httpx's own certificate authorities: the profile's are in the file that OpenSSL reads.
    return httpx.AsyncClient(
        verify=ssl.create_default_context(),
        # A compressed response may be a thousand times as large as what was read.
        headers={"accept-encoding": "identity"},
        event_hooks={"request": [identify], "response": [_bound]},
        timeout=_TIMEOUT,
        follow_redirects=False,
    )


async def _bound(response: httpx.Response) -> None:
    packed = response.headers.get("content-encoding", "identity")
    if packed != "identity":
        raise httpx.DecodingError(f"the response is compressed ({packed}), which was not requested")
    assert isinstance(response.stream, httpx.AsyncByteStream)
    response.stream = _BoundedStream(response.stream)


class _BoundedStream(httpx.AsyncByteStream):
    """Raises ResponseTooLargeError for a response, or a line of a stream, above MESSAGE_BOUND."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            newline = chunk.rfind(b"\n")
            size = size + len(chunk) if newline < 0 else len(chunk) - newline
            if size > MESSAGE_BOUND:
                raise ResponseTooLargeError(f"a message is larger than {MESSAGE_BOUND} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
