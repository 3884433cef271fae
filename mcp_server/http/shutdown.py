"""
Graceful shutdown of a replica.

It has two steps. A replica that is *leaving* is not ready any more, but still serves requests, and
closes each connection after its response, so that the next request goes to another replica. After
``drain_seconds``, when Kubernetes has updated the endpoints, it is *stopping*: waiting requests
return immediately with what is available, and the servers end.
"""

import asyncio
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class Shutdown:
    """The shutdown state of a process."""

    drain_seconds: float = 0
    """How long to serve requests while leaving. 0 if there is no other replica."""
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Wait until the process is leaving, then for ``drain_seconds``; set ``stopping``."""
        await self.leaving.wait()
        await asyncio.sleep(self.drain_seconds)
        self.stopping.set()

    def end_now(self) -> None:
        """Take both steps immediately, for example after a failure."""
        self.leaving.set()
        self.stopping.set()


class CloseWhenLeaving:
    """Closes each connection after its response while the process is leaving."""

    def __init__(self, app: ASGIApp, leaving: asyncio.Event) -> None:
        self._app = app
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and self._leaving.is_set():
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receive, answer)
