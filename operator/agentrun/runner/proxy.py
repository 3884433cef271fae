"""
The way to the model's provider.

The agent speaks to this proxy on the pod's loopback with a placeholder for a key; the real key
is put in here, so the agent never holds it. Nothing is buffered. The last error is remembered:
agents tell of it in many ways, the provider in one.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import aiohttp
from aiohttp import web

from agentrun.api.bounded_json import read
from agentrun.runner.outcome import ProviderError

_HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "host",
})  # fmt: skip
_CREDENTIALS = frozenset({"authorization", "x-api-key", "x-goog-api-key"})
_WORK = ("/messages", "/responses", "/chat/completions", "streamGenerateContent", "generateContent")
_ERROR_BYTES = 64 * 1024
_CHUNK = 64 * 1024
_FEWEST_FAILURES = 3
"""So many requests have to fail before a provider is given up."""
_BAD_GATEWAY = 502
# nginx's number for it; nobody is there to read it.
_CLIENT_CLOSED_REQUEST = 499

log = logging.getLogger(__name__)


class ProviderProxy:
    """Passes requests on to the provider, with its key."""

    def __init__(
        self,
        provider: str,
        credentials: Mapping[str, str],
        patience: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider.rstrip("/")
        self._credentials = credentials
        self._patience = patience
        self._clock = clock
        self._failures = 0
        """How many requests for work have failed since the last that did not."""
        self._failing_since = 0.0
        self._session: aiohttp.ClientSession | None = None
        self.error: ProviderError | None = None
        """What the provider answered last to a request for work, if it was an error."""
        self.refusal: ProviderError | None = None
        """With what the provider has refused the credentials, whatever it answered since."""
        self.refused = asyncio.Event()
        """Set once it has."""
        self.failed = asyncio.Event()
        """Set once the provider did nothing but fail for longer than the patience."""

    def begin_turn(self) -> None:
        """Forget errors of earlier turns."""
        self.error = self.refusal = None
        self._failures = 0
        self.refused.clear()
        self.failed.clear()

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[None]:
        """Listen on the pod's loopback."""
        # A model may think for long before its first word; the run's deadline bounds that.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        async with aiohttp.ClientSession(
            timeout=timeout, auto_decompress=False, trust_env=True
        ) as self._session:
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", port).start()
                yield
            finally:
                await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self._session is None:
            raise web.HTTPServiceUnavailable
        if not request.raw_path.startswith("/"):
            # "pany://x" would make another host of the provider's, and send the key there.
            raise web.HTTPBadRequest(text="Ask for a path, without scheme and host.")
        dropped = _HOP_BY_HOP | (_CREDENTIALS if self._credentials else frozenset())
        headers = {k: v for k, v in request.headers.items() if k.lower() not in dropped}
        headers |= self._credentials
        try:
            async with self._session.request(
                request.method,
                self._provider + request.raw_path,
                headers=headers,
                data=request.content if request.body_exists else None,
                allow_redirects=False,
            ) as answer:
                return await self._answer(request, answer)
        except _AgentLeft:
            log.debug("the agent did not wait for the end of the answer to %s", request.path)
            return web.Response(status=_CLIENT_CLOSED_REQUEST)
        except aiohttp.ClientConnectionError as error:
            message = f"{self._provider} cannot be reached: {error}"
            self._note(request, _BAD_GATEWAY, message)
            body = {"error": {"type": "provider_unreachable", "message": message}}
            return web.json_response(body, status=_BAD_GATEWAY)

    async def _answer(
        self, request: web.Request, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        headers = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        beginning = b""
        if answer.status >= 400:
            # Known before the agent hears of it, since it may act on it, or leave, at once.
            while len(beginning) < _ERROR_BYTES and (more := await answer.content.read(_CHUNK)):
                beginning += more
            self._note(request, answer.status, _message_in(beginning) or str(answer.reason))
        with _agent_may_leave():
            await response.prepare(request)
            await response.write(beginning)
        async for chunk in answer.content.iter_chunked(_CHUNK):
            with _agent_may_leave():
                await response.write(chunk)
        if answer.status < 400:
            self._note(request, answer.status, "")
        with _agent_may_leave():
            await response.write_eof()
        return response

    def _note(self, request: web.Request, status: int, message: str) -> None:
        """Remember an error; forget it when the provider does its work again."""
        if request.method != "POST" or not request.path.endswith(_WORK):
            return
        if status < 400:
            self.error = None
            self._failures = 0
            return
        self.error = ProviderError(status, message[:4000])
        log.warning("The model's provider answered %s: %s", status, message[:500])
        if self.error.is_refusal:
            self.refusal = self.error
            self.refused.set()
        self._lose_patience()

    def _lose_patience(self) -> None:
        """Give up on a provider that goes on failing, for an agent that would ask for minutes."""
        now = self._clock()
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        is_long = self._patience is not None and now - self._failing_since >= self._patience
        if is_long and self._failures >= _FEWEST_FAILURES:
            self.failed.set()


class _AgentLeft(Exception):  # noqa: N818 - what happened; nothing is wrong with it
    """The agent closed its connection before the answer's end, as it may."""


@contextmanager
def _agent_may_leave() -> Iterator[None]:
    """Tell the agent's side of a connection from the provider's: aiohttp's errors are the same."""
    try:
        yield
    except ConnectionError as error:
        raise _AgentLeft from error


def _message_in(body: bytes) -> str:
    """Read the message in a provider's error; all of them put it in nearly the same place."""
    try:
        value = read(body, "The provider's error")
    except ValueError:
        return body.decode(errors="replace").strip()[:500]
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(error, dict):
        return str(error.get("message") or error.get("detail") or json.dumps(error))
    return str(error)
