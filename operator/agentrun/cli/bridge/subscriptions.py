"""
Resource subscriptions of older clients, mapped to ``subscriptions/listen``.

Up to 2025-11-25 a client subscribes to a resource within its session. The MCP server is stateless
and sends update notifications only in the response to ``subscriptions/listen``. The bridge has one
session, its client's, and translates between the two.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from itertools import count

from agentrun import __version__
from agentrun.backoff import Backoff
from agentrun.cli.bridge.exchange import Exchange
from agentrun.cli.bridge.messages import (
    AWAY,
    INVALID_REQUEST,
    VERSION_META,
    Json,
    JsonRpcMessage,
    failure,
)

MAX_SUBSCRIPTIONS = 64
"""How many resources a client may subscribe to: each uses a connection."""
_SUBSCRIBE, _UNSUBSCRIBE = "resources/subscribe", "resources/unsubscribe"
_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_UPDATED = "notifications/resources/updated"
_PAUSES = (0.5, 1.0, 2.0, 5.0, 15.0)
_META = {
    VERSION_META: "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "agentrun", "version": __version__},
    "io.modelcontextprotocol/clientCapabilities": {},
}

_log = logging.getLogger(__name__)


class Subscriptions:
    """The client's subscriptions."""

    def __init__(self, exchange: Exchange, send: Callable[[Json], None]) -> None:
        self._exchange = exchange
        self._send = send
        self._numbers = count(1)
        self._followed: dict[str, asyncio.Task[None]] = {}

    def take(self, message: JsonRpcMessage) -> bool:
        """Handle an older client's subscribe or unsubscribe request. Return whether it was one."""
        uri = message.params.get("uri")
        if not message.is_request or message.version or not isinstance(uri, str):
            return False
        if message.method == _SUBSCRIBE:
            self._begin(message, uri)
        elif message.method == _UNSUBSCRIBE:
            if task := self._followed.pop(uri, None):
                task.cancel()
            self._send(_answer(message))
        return message.method in (_SUBSCRIBE, _UNSUBSCRIBE)

    async def close(self) -> None:
        """Cancel all subscriptions."""
        tasks = list(self._followed.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, message: JsonRpcMessage, uri: str) -> None:
        if uri in self._followed:
            self._send(_answer(message))
        elif len(self._followed) >= MAX_SUBSCRIPTIONS:
            text = f"The limit is {MAX_SUBSCRIPTIONS} subscriptions. Unsubscribe from others first."
            self._send(failure(message.id, INVALID_REQUEST, text))
        else:
            task = asyncio.create_task(self._follow(message, uri))
            task.add_done_callback(lambda done: self._miss(message, uri, done))
            self._followed[uri] = task

    def _miss(self, message: JsonRpcMessage, uri: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            _log.error("%s %s failed", message.method, uri, exc_info=error)
            self._followed.pop(uri, None)
            self._send(failure(message.id, AWAY, f"the bridge failed: {error!r}"))

    async def _follow(self, message: JsonRpcMessage, uri: str) -> None:
        """Respond once the MCP server acknowledges the subscription; then forward its updates."""
        is_answered, backoff = False, Backoff(_PAUSES)
        while True:
            async for reply in self._listen(uri):
                if reply.get("method") == _ACKNOWLEDGED:
                    # After a reconnect, an update may have been missed in between.
                    self._send(_updated(uri) if is_answered else _answer(message))
                    is_answered = True
                    backoff.reset()
                elif reply.get("method") == _UPDATED:
                    self._send(_updated(uri))
                elif "error" in reply and not is_answered:
                    del self._followed[uri]
                    self._send({**reply, "id": message.id})
                    return
            await backoff.wait()

    async def _listen(self, uri: str) -> AsyncIterator[Json]:
        params = {"notifications": {"resourceSubscriptions": [uri]}, "_meta": _META}
        asked = {"jsonrpc": "2.0", "id": f"agentrun-{next(self._numbers)}", "params": params}
        async for reply in self._exchange.carry(
            JsonRpcMessage({**asked, "method": "subscriptions/listen"})
        ):
            yield json.loads(reply) if isinstance(reply, str) else reply


def announced(reply: str | Json) -> str | Json:
    """Add the ``subscribe`` capability to the response to an older client's ``initialize``."""
    message = json.loads(reply) if isinstance(reply, str) else reply
    result = message.get("result")
    capabilities = result.get("capabilities") if isinstance(result, dict) else None
    resources = capabilities.get("resources") if isinstance(capabilities, dict) else None
    if not isinstance(resources, dict):
        return reply
    resources["subscribe"] = True
    return json.dumps(message, ensure_ascii=False)


def _answer(message: JsonRpcMessage) -> Json:
    return {"jsonrpc": "2.0", "id": message.id, "result": {}}


def _updated(uri: str) -> Json:
    return {"jsonrpc": "2.0", "method": _UPDATED, "params": {"uri": uri}}
