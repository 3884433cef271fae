"""
The HTTP client that the SDK uses.

Credentials are sent only to the agent they were given for: neither to other origins that its card
names nor to the target of a redirect. The proxy and the certificate authorities are those of the
environment, and so the profile's.
"""

import ssl
from collections.abc import AsyncIterator, Mapping

import httpx

from agentrun.runner.a2a.config import origin
from agentrun.runner.a2a.errors import ResponseTooLargeError

MESSAGE_BOUND = 8 * 1024 * 1024
"""The maximum size of a response, or of an event of a stream, in bytes."""
_TIMEOUT = httpx.Timeout(60, connect=10)


def make_client(credentials: Mapping[str, str], agent_url: str) -> httpx.AsyncClient:
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
