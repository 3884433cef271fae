"""
Serves requests that are almost what the protocol asks for: a slash too many, one media type of two.

The SDK redirects ``/mcp/`` to an absolute URL made from the connection, which behind an ingress is
not the client's: it would send its token over plain HTTP. And it refuses clients that accept only
one of the two media types, although each request has but one response.
"""

from http import HTTPStatus

from mcp.server.streamable_http import check_accept_headers
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BOTH_TYPES = "application/json, text/event-stream"


class WithoutTrailingSlash:
    """Serves a path that ends with slashes as the path without them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope["path"].endswith("/"):
            # Routes are found by ``path``; ``raw_path`` is what the client sent.
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)


class OneMediaType:
    """
    Serves clients that accept JSON alone, or event streams alone, at one path.

    A client that accepts JSON alone gets JSON, without notifications of progress. A client that
    accepts event streams alone gets one also where the SDK responds in JSON.
    """

    def __init__(self, app: ASGIApp, path: str, in_json: StreamableHTTPSessionManager) -> None:
        self._app = app
        self._path = path
        self._in_json = in_json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, to the server that responds in JSON if nothing else is accepted."""
        if scope["type"] != "http" or (scope["path"], scope["method"]) != (self._path, "POST"):
            await self._app(scope, receive, send)
            return
        has_json, has_stream = check_accept_headers(Request(scope))
        if has_json and not has_stream:
            await self._in_json.handle_request(scope, receive, send)
            return
        if has_stream and not has_json:
            scope = {**scope, "headers": list(scope["headers"])}
            MutableHeaders(scope=scope)["accept"] = BOTH_TYPES
            send = _EventStream(send)
        await self._app(scope, receive, send)


class _EventStream:
    """Sends the JSON of a successful response as an event stream of one event."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_json = False

    async def __call__(self, message: Message) -> None:
        """Send a message of ASGI."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            is_json = headers.get("content-type", "").startswith("application/json")
            self._is_json = is_json and message["status"] == HTTPStatus.OK
            if self._is_json:
                headers["content-type"] = "text/event-stream"
                del headers["content-length"]
                await self._send({**message, "headers": headers.raw})
                begin = b"event: message\r\ndata: "
                message = {"type": "http.response.body", "body": begin, "more_body": True}
        elif self._is_json and not message.get("more_body"):
            message = {**message, "body": message.get("body", b"") + b"\r\n\r\n"}
        await self._send(message)
