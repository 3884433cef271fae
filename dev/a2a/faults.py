"""
Faults in a response stream, injected where the agent's script asks for them.

The script puts a mark such as `(drop 1f2e3d4c)` into a message; the response stream that carries it
is disrupted here. Each mark takes effect once: a task that is read again shows it again.
"""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FAULTS = ("drop", "hush", "garble")
"""The connection breaks; the stream ends as if complete; the next event is not JSON."""
_MARK = re.compile(rb"\((drop|hush|garble) ([0-9a-f]{8})\)")
_STREAM = b"text/event-stream"


class Faults:
    """Forwards everything, and injects a fault after a mark."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._done: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_stream = is_over = False

        async def pass_on(message: Message) -> None:
            nonlocal is_stream, is_over
            if is_over:
                return
            if message["type"] == "http.response.start":
                is_stream = any(_STREAM in value for _, value in message["headers"])
            fault = self._fault(message.get("body", b"")) if is_stream else None
            await send(message)
            if fault == b"garble":
                await send({**message, "body": b"data: {nothing that\r\n\r\n"})
            if fault == b"hush":
                is_over = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            if fault == b"drop":
                raise ConnectionResetError("as the script says")

        await self._app(scope, receive, pass_on)

    def _fault(self, body: bytes) -> bytes | None:
        new = (found for found in _MARK.finditer(body) if found[2] not in self._done)
        found = next(new, None)
        if found is None:
            return None
        self._done.add(found[2])
        return found[1]
