"""
The runner's client of the gateway.

It implements the protocol of ``agentrun.api.gateway`` and maps error responses to exceptions by
what the runner has to do about them. It does not retry; ``retry_while_unavailable`` does.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from agentrun.api.bounded_json import SENT, mended
from agentrun.api.gateway import Delivered, Head, Inputs, Messages, Problem, Task
from agentrun.api.v1alpha1 import AgentStatus, Outcome
from agentrun.backoff import retry

_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=5)
_BLOB_TIMEOUT = aiohttp.ClientTimeout(total=600, sock_connect=5, sock_read=120)
# A tool may wait for half a minute without sending anything.
_MCP_TIMEOUT = aiohttp.ClientTimeout(total=600, sock_connect=5, sock_read=120)
_CHUNK = 64 * 1024
_PAUSES = (0.2, 0.5, 1.0)
_DELIVERED_SECONDS = 2.0
_M = TypeVar("_M", bound=BaseModel)
_T = TypeVar("_T")

log = logging.getLogger(__name__)


class GatewayError(Exception):
    """The gateway did not accept a request."""


class GatewayUnavailableError(GatewayError):
    """The gateway, or something that it depends on, is unavailable: retain the data and retry."""


class RunFinishedError(GatewayError):
    """The run is sealed, or has a newer attempt: nothing that this attempt sends is stored."""


class GatewayConflictError(GatewayError):
    """The gateway has other data at this position already."""

    def __init__(self, message: str, last_seq: int | None) -> None:
        super().__init__(message)
        self.last_seq = last_seq


class GatewayRefusedError(GatewayError):
    """The request itself is invalid: a retry does not help."""


class Gateway:
    """A client of the gateway, for one run."""

    def __init__(self, url: str, token: Path, on_token: Callable[[str], None]) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._on_token = on_token
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)

    async def __aenter__(self) -> "Gateway":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def task(self) -> Task:
        """Fetch the run's task."""
        return _read(Task, await self._call("GET", "/v1/task"))

    async def append(self, body: bytes) -> Head:
        """Append events, given as the JSON of an Append."""
        return _read(Head, await self._call("POST", "/v1/events", body))

    async def put_blob(self, name: str, path: Path, size: int, media_type: str) -> None:
        """Store a file's bytes under a name, without loading them into memory."""
        headers = {"content-type": media_type, "content-length": str(size)}
        await self._call("PUT", f"/v1/blobs/{name}", _stream(path), headers, _BLOB_TIMEOUT)

    async def state(self, status: AgentStatus) -> None:
        """Post the agent's status."""
        await self._call("POST", "/v1/state", _json(status))

    async def outcome(self, outcome: Outcome) -> None:
        """Post the attempt's outcome. It is durable once this returns."""
        await self._call("POST", "/v1/outcome", _json(outcome))

    async def inputs(self, after: int, wait_ms: int = 20_000) -> Inputs:
        """Wait up to ``wait_ms`` milliseconds for inputs with a seq after the given one."""
        path = f"/v1/inputs?after={after}&wait_ms={wait_ms}"
        return _read(Inputs, await self._call("GET", path))

    async def messages(self, after: int, wait_ms: int) -> Messages:
        """Wait up to ``wait_ms`` milliseconds for messages with a seq after the given one."""
        path = f"/v1/messages?after={after}&wait_ms={wait_ms}"
        return _read(Messages, await self._call("GET", path))

    async def delivered(self, seq: int) -> None:
        """Report that all messages up to ``seq`` were delivered to the agent."""
        await self._call("POST", "/v1/delivered", _json(Delivered(seq=seq)))

    async def get_snapshot(self, name: str, path: Path) -> None:
        """Download a file of the snapshot that the run resumes from into ``path``."""
        url = f"{self._url}/v1/snapshot/{name}"
        try:
            async with self._session.get(
                url, headers=self._authorization(), timeout=_BLOB_TIMEOUT
            ) as response:
                if response.status >= 300:
                    raise _refusal(response.status, await response.read())
                with path.open("wb") as file:
                    async for chunk in response.content.iter_chunked(_CHUNK):
                        file.write(chunk)
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            raise GatewayUnavailableError(
                f"GET {url}: {str(error) or type(error).__name__}"
            ) from error

    @asynccontextmanager
    async def mcp(
        self, body: bytes | AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Post an MCP message to the tools for the agent; the response's body is not read yet."""
        try:
            async with self._session.post(
                f"{self._url}/v1/mcp",
                data=body,
                headers={**headers, **self._authorization()},
                timeout=_MCP_TIMEOUT,
            ) as response:
                yield response
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            raise GatewayUnavailableError(
                f"POST /v1/mcp: {str(error) or type(error).__name__}"
            ) from error

    def _authorization(self) -> dict[str, str]:
        # The kubelet renews the file, so it is read for each request.
        token = self._token.read_text(encoding="ascii").strip()
        self._on_token(token)
        return {"authorization": f"Bearer {token}"}

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | AsyncIterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
        limits: aiohttp.ClientTimeout = _TIMEOUT,
    ) -> bytes:
        headers = {"content-type": "application/json"} | (headers or {})
        try:
            headers |= self._authorization()
            async with self._session.request(
                method, self._url + path, data=body, headers=headers, timeout=limits
            ) as response:
                answer = await response.read()
                if response.status < 300:
                    return answer
                raise _refusal(response.status, answer)
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            raise GatewayUnavailableError(
                f"{method} {path}: {str(error) or type(error).__name__}"
            ) from error


def _refusal(status: int, body: bytes) -> GatewayError:
    """Map an error response to an exception. Without a Problem, it is not from the gateway."""
    try:
        problem = Problem.model_validate_json(body)
    except ValidationError:
        return GatewayUnavailableError(
            f"the gateway answered {status}: {body[:200].decode(errors='replace')}"
        )
    message = f"the gateway answered {status} {problem.error}: {problem.message}"
    match problem.error:
        case "fenced" | "sealed":
            return RunFinishedError(message)
        case "conflict":
            return GatewayConflictError(message, problem.last_seq)
        case "invalid" | "not_found" | "too_large":
            return GatewayRefusedError(message)
        case _:
            return GatewayUnavailableError(message)


def _read(model: type[_M], body: bytes) -> _M:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise GatewayRefusedError(
            f"the gateway's {model.__name__} cannot be read: {error}"
        ) from error


def _json(model: BaseModel) -> bytes:
    content, _ = mended(model.model_dump(mode="json", by_alias=True, exclude_none=True), "It", SENT)
    return json.dumps(content, separators=(",", ":")).encode()


async def _stream(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


async def report_delivered(gateway: Gateway, seq: int) -> None:
    """Report messages up to ``seq`` as delivered; the session's later runs get the rest."""
    if not seq:
        return
    try:
        async with asyncio.timeout(_DELIVERED_SECONDS):
            await gateway.delivered(seq)
    except (GatewayError, TimeoutError) as error:
        # An attempt that resumes from the snapshot has the number anyway.
        log.warning("The delivery of messages cannot be reported: %s", error)


async def retry_while_unavailable(
    ask: Callable[[], Awaitable[_T]],
    seconds: float | None = None,
    note: Callable[[Exception], None] | None = None,
) -> _T:
    """
    Return the answer to a request, which is repeated while the gateway is unavailable.

    ``note`` is called with each failure. Raises the last GatewayUnavailableError after ``seconds``.
    """
    try:
        return await retry(ask, _PAUSES, _is_unavailable, seconds=seconds, note=note)
    except TimeoutError as error:
        raise GatewayUnavailableError(f"there was no answer within {seconds or 0:.0f} s") from error


def _is_unavailable(error: Exception) -> bool:
    return isinstance(error, GatewayUnavailableError)
