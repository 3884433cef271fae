"""
The proxy between the agent and the model's provider.

The agent sends its requests to this proxy on the pod's loopback interface, with a placeholder for
the key. The proxy adds the real key, so the agent never holds it, and only to requests that the
profile's rules allow. The URL's path begins with a capability that only the agent has; requests
without it are refused. Answers are not buffered; a request is stored on disk until its body has
been read. The last error is retained: agents report it in many ways, the provider in one.
"""

import asyncio
import hmac
import json
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from typing import IO

import aiohttp
from aiohttp import web
from yarl import URL

from agentrun.api.bounded_json import read
from agentrun.runner.provider.bodies import Named, UnreadableBodyError, names_in
from agentrun.runner.provider.paths import NotOfferedError, ProviderRequest, find
from agentrun.runner.provider.rules import RequestRefusedError, Rules, error_body, needs_json

_HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "host",
})  # fmt: skip
_ERROR_BYTES = 64 * 1024
_CHUNK = 64 * 1024
_FEWEST_FAILURES = 3
"""The least number of failed requests before the provider counts as failed."""
_BAD_GATEWAY = 502
# nginx's status code for this; the client is gone and does not read it.
_CLIENT_CLOSED_REQUEST = 499
_AT_ONCE = 32
"""The limit of concurrent requests of one agent; its subagents send their own."""
MAX_BODY_BYTES = 32 * 1024 * 1024
"""The largest request body; no provider's API accepts a larger one for its models."""
_BODY_SECONDS = 120.0
"""The timeout for the agent to send the body."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProviderError:
    """The last answer of the model's provider, if it was an error."""

    status: int
    message: str
    is_own: bool = False
    """Whether the runner refused the request itself, and did not send it to the provider."""

    @property
    def is_refusal(self) -> bool:
        """Whether the provider refused the credentials."""
        return self.status in (401, 403) and not self.is_own


class ProviderProxy:
    """Forwards requests to the provider, with its key."""

    def __init__(
        self,
        provider: str,
        credentials: Mapping[str, str],
        rules: Rules,
        capability: str,
        patience: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider.rstrip("/")
        self._credentials = credentials
        self._rules = rules
        self._capability = capability
        self._under_way = 0
        self._patience = patience
        self._clock = clock
        self._failures = 0
        """The number of work requests that have failed since the last that succeeded."""
        self._failing_since = 0.0
        self._session: aiohttp.ClientSession | None = None
        self.error: ProviderError | None = None
        """The provider's last answer to a work request, if it was an error."""
        self.refusal: ProviderError | None = None
        """The answer that refused the credentials, regardless of later answers."""
        self.refused = asyncio.Event()
        """Set once the provider has refused the credentials."""
        self.failed = asyncio.Event()
        """Set once the provider has only failed for longer than ``patience`` seconds."""
        self.was_asked = False
        """Whether the agent has asked a model in this turn."""

    def begin_turn(self) -> None:
        """Reset what is known of earlier turns."""
        self.error = self.refusal = None
        self.was_asked = False
        self._failures = 0
        self.refused.clear()
        self.failed.clear()

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[None]:
        """Listen on the pod's loopback interface during the block."""
        # A model may take long before its first output; the run's deadline limits that.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
        # No router: it does not match paths with line ends. Compressed bodies are refused: a
        # decompressed body would differ from the one that the agent sent.
        server = web.Server(self._handle, access_log=None, auto_decompress=False)
        runner = web.ServerRunner(server, shutdown_timeout=0.5)
        async with aiohttp.ClientSession(
            timeout=timeout, auto_decompress=False, trust_env=True
        ) as self._session:
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", port).start()
                yield
            finally:
                await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            path = self._admitted(request.raw_path)
            asked = find(self._rules.routes, request.method, path)
        except NotOfferedError as refusal:
            return self._refuse(404, str(refusal))
        if self._under_way >= _AT_ONCE:
            message = f"{_AT_ONCE} requests to the provider are in progress: wait for one to end."
            return self._refuse(429, message, asked)
        self._under_way += 1
        self.was_asked = self.was_asked or asked.route.is_work
        try:
            return await self._ask(request, asked)
        except _AgentDisconnectedError:
            log.debug("the agent did not wait for the end of the answer to %s", asked.target)
            return web.Response(status=_CLIENT_CLOSED_REQUEST)
        except _BadRequestError as error:
            return self._refuse(error.status, str(error), asked)
        except RequestRefusedError as refusal:
            return self._refuse(403, str(refusal), asked)
        except aiohttp.ClientConnectionError as error:
            message = f"{self._provider} cannot be reached: {error}"
            self._note(asked, ProviderError(_BAD_GATEWAY, message))
            body = error_body(asked.route.form, _BAD_GATEWAY, message)
            return web.json_response(body, status=_BAD_GATEWAY)
        finally:
            self._under_way -= 1

    def _admitted(self, raw: str) -> str:
        """Return the path after the capability. Raises NotOfferedError without the capability."""
        # "pany://x" would change the provider's host, and send the key to that host.
        first, _, rest = raw.removeprefix("/").partition("/")
        first, mark, query = first.partition("?")
        given = first.encode(errors="replace") if raw.startswith("/") else b""
        if not hmac.compare_digest(given, self._capability.encode()):
            raise NotOfferedError(
                "This is not the provider's URL: that URL is in the agent's environment, and"
                " contains a secret of the pod in its path."
            )
        return f"/{mark}{query}" if mark else f"/{rest}"

    def _refuse(
        self, status: int, message: str, asked: ProviderRequest | None = None
    ) -> web.Response:
        """Answer in the provider's error format, for a rule of the profile or of the runner."""
        log.warning("A request to the model's provider is refused: %s", message[:500])
        if asked:
            self._note(asked, ProviderError(status, message[:4000], is_own=True))
        form = asked.route.form if asked else self._rules.form
        headers = {"retry-after": "1"} if status == 429 else None
        return web.json_response(error_body(form, status, message), status=status, headers=headers)

    async def _ask(self, request: web.BaseRequest, asked: ProviderRequest) -> web.StreamResponse:
        if self._session is None:
            raise web.HTTPServiceUnavailable
        headers = self._rules.passed(request.headers.items(), bool(self._credentials))
        with tempfile.TemporaryFile() as body:
            size = await _receive(request, body)
            await asyncio.to_thread(self._check, asked, headers, body, size)
            async with self._session.request(
                request.method,
                URL(self._provider + asked.target, encoded=True),
                headers={**headers, **self._credentials},
                data=body if size else None,
                allow_redirects=False,
            ) as answer:
                return await self._answer(request, asked, answer)

    def _check(
        self, asked: ProviderRequest, headers: Mapping[str, str], body: IO[bytes], size: int
    ) -> None:
        """Check the body against the profile. Raises RequestRefusedError or _BadRequestError."""
        named = Named(frozenset())
        if asked.route.is_work or (size and needs_json(asked, headers)):
            if not size:
                raise _BadRequestError(400, "The request has no body.")
            body.seek(0)
            try:
                with mmap(body.fileno(), size, access=ACCESS_READ) as held:
                    named = names_in(held)
            except UnreadableBodyError as error:
                message = f"The request's body cannot be forwarded: {error}."
                raise _BadRequestError(400, message) from error
        self._rules.check(asked, named)
        body.seek(0)

    async def _answer(
        self, request: web.BaseRequest, asked: ProviderRequest, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        headers = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        beginning = b""
        if answer.status >= 400:
            # Recorded before the agent receives it: it may act on it, or disconnect, immediately.
            while len(beginning) < _ERROR_BYTES and (more := await answer.content.read(_CHUNK)):
                beginning += more
            message = _message_in(beginning) or str(answer.reason)
            self._note(asked, ProviderError(answer.status, message[:4000]))
        with _agent_may_disconnect():
            await response.prepare(request)
            await response.write(beginning)
        async for chunk in answer.content.iter_chunked(_CHUNK):
            with _agent_may_disconnect():
                await response.write(chunk)
        if answer.status < 400:
            self._note(asked, None)
        with _agent_may_disconnect():
            await response.write_eof()
        return response

    def _note(self, asked: ProviderRequest, error: ProviderError | None) -> None:
        """Record an error of a work request; reset it when the provider succeeds again."""
        if not asked.route.is_work:
            return
        self.error = error
        if error is None:
            self._failures = 0
            return
        log.warning("The model's provider answered %s: %s", error.status, error.message[:500])
        if error.is_refusal:
            self.refusal = error
            self.refused.set()
        self._time_out()

    def _time_out(self) -> None:
        """Report a provider that keeps failing, for agents that would retry for minutes."""
        now = self._clock()
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        is_long = self._patience is not None and now - self._failing_since >= self._patience
        if is_long and self._failures >= _FEWEST_FAILURES:
            self.failed.set()


class _BadRequestError(Exception):
    """A request that cannot be sent to any provider."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _receive(request: web.BaseRequest, body: IO[bytes]) -> int:
    """Write the request's body to a file, return its size. Raises _BadRequestError over a limit."""
    packed = request.headers.get("content-encoding", "identity").lower()
    if packed != "identity":
        message = f"The request's body is compressed ({packed}), so it cannot be checked."
        raise _BadRequestError(415, f"{message} Send it uncompressed.")
    size = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.content.iter_chunked(_CHUNK):
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    message = f"The request is larger than {MAX_BODY_BYTES} bytes,"
                    raise _BadRequestError(413, f"{message} the maximum size.")
                await asyncio.to_thread(body.write, chunk)
    except TimeoutError as error:
        message = f"The request's body did not arrive within {_BODY_SECONDS:.0f} s."
        raise _BadRequestError(408, message) from error
    except (ConnectionError, web.RequestPayloadError) as error:
        raise _AgentDisconnectedError from error
    # Later code reads the file by its descriptor.
    await asyncio.to_thread(body.flush)
    return size


class _AgentDisconnectedError(Exception):
    """The agent closed its connection before the end of the answer, which is allowed."""


@contextmanager
def _agent_may_disconnect() -> Iterator[None]:
    """Convert the agent's ConnectionErrors: aiohttp's are the same for agent and provider."""
    try:
        yield
    except ConnectionError as error:
        raise _AgentDisconnectedError from error


def _message_in(body: bytes) -> str:
    """Read the message in a provider's error; all use nearly the same location for it."""
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
