"""
Ending a replica without refusing anybody.

It goes in two steps. A replica that is *leaving* is no longer ready, but answers everybody, and
closes each connection with its answer, so that the next request goes to another replica. Once
Kubernetes has had the time to tell everybody, it is *stopping*: whoever waits for something is
answered at once with what there is, and the servers end.
"""

import asyncio
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class Shutdown:
    """The two steps of one process."""

    drain_seconds: float = 0
    """How long it goes on answering. 0 where there is no other replica to go to."""
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Wait until the process is to end, and return when it stops."""
        await self.leaving.wait()
        await asyncio.sleep(self.drain_seconds)
        self.stopping.set()

    def end_now(self) -> None:
        """Take both steps at once: something failed."""
        self.leaving.set()
        self.stopping.set()


class CloseWhenLeaving:
    """Close each connection with its answer, while the process is leaving."""

    def __init__(self, app: ASGIApp, leaving: asyncio.Event) -> None:
        self._app = app
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and self._leaving.is_set():
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receive, answer)
