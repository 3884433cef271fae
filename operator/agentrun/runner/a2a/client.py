"""
The connection to a remote agent whose card has been read: the SDK's requests, with timeouts.

The SDK and protobuf take some megabytes, so this is imported by runs with a remote agent only.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from a2a.client.client import Client, ClientCallContext
from a2a.types import a2a_pb2
from google.protobuf.json_format import MessageToDict, ParseDict

from agentrun.api.remote import RemoteConfig
from agentrun.runner.a2a import card, http
from agentrun.runner.a2a.errors import explained

_STREAM_TIMEOUT = 300.0
"""A stream that is silent for longer is subscribed to again."""
_BLOCKING_TIMEOUT = 3600.0


class Remote:
    """A remote agent."""

    def __init__(self, client: Client, found: a2a_pb2.AgentCard, config: RemoteConfig) -> None:
        self._client = client
        self._config = config
        self.agent_url = config.agent_url
        self.name = found.name
        self.is_streaming = bool(found.capabilities.streaming)

    async def send(self, message: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Send a message, and yield the events of the response until it ends."""
        with explained():
            request = self._request(message)
            seconds = _BLOCKING_TIMEOUT if self._config.blocking else None
            context = ClientCallContext(timeout=_STREAM_TIMEOUT if self.is_streaming else seconds)
            async for event in self._client.send_message(request, context=context):
                yield MessageToDict(event)

    async def subscribe(self, task: str) -> AsyncIterator[dict[str, Any]]:
        """Subscribe to a task again after its stream was interrupted."""
        context = ClientCallContext(timeout=_STREAM_TIMEOUT)
        request = a2a_pb2.SubscribeToTaskRequest(id=task)
        with explained():
            async for event in self._client.subscribe(request, context=context):
                yield MessageToDict(event)

    async def get(self, task: str) -> dict[str, Any]:
        """Return a task's current state, in the form of an event."""
        request = a2a_pb2.GetTaskRequest(id=task)
        if self._config.history_length is not None:
            request.history_length = self._config.history_length
        with explained():
            return {"task": MessageToDict(await self._client.get_task(request))}

    async def cancel(self, task: str) -> dict[str, Any]:
        """Cancel a task; return its state after that, in the form of an event."""
        with explained():
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
    async with http.make_client(credentials, config.agent_url) as opened:
        found = await card.read_card(opened, config)
        client = card.make_client(opened, found, config, bool(credentials))
        yield Remote(client, found, config)
