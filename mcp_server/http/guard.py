"""
The authorization middleware of port 8080.

It runs before the routes, so that new routes, methods and tools require authorization by default.
Only the paths in ``OPEN`` do not.
"""

import logging
from collections.abc import Callable

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, RequireAuthMiddleware
from pydantic import AnyHttpUrl
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from mcp_server.access.policy import AccessPolicy
from mcp_server.access.subjects import ForbiddenError

OPEN = ("/healthz", "/readyz", "/.well-known/")
"""The unauthenticated paths: the probes, and the metadata on how to authenticate."""

FORBIDDEN = 403
"""The HTTP status, and the code of the JSON-RPC error: clients show its message to people."""

_log = logging.getLogger(__name__)


class Guard:
    """Responds 401 to unauthenticated and 403 to unauthorized requests, and passes others on."""

    def __init__(
        self,
        app: ASGIApp,
        policy: Callable[[], AccessPolicy],
        metadata_url: AnyHttpUrl | None,
    ) -> None:
        self._app = app
        self._policy = policy
        self._metadata_url = metadata_url
        self._known = RequireAuthMiddleware(self._authorized, [], metadata_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, then pass it on."""
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        elif scope["type"] == "http" and not is_open_path(scope["path"]):
            await self._known(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _authorized(self, scope: Scope, receive: Receive, send: Send) -> None:
        user = scope["user"]
        assert isinstance(user, AuthenticatedUser)
        try:
            await self._policy().authorize()
        except ForbiddenError as refusal:
            _log.info("rejected %r: it is not in the access list", user.access_token.client_id)
            await self._forbid(str(refusal))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _forbid(self, message: str) -> JSONResponse:
        # RFC 6750. The message is in the body: a username may have characters no header can.
        challenge = 'Bearer error="insufficient_scope"'
        if self._metadata_url:
            challenge += f', resource_metadata="{self._metadata_url}"'
        return JSONResponse(
            {"jsonrpc": "2.0", "id": None, "error": {"code": FORBIDDEN, "message": message}},
            status_code=FORBIDDEN,
            headers={"WWW-Authenticate": challenge},
        )


def is_open_path(path: str) -> bool:
    """Return whether a path needs no authentication."""
    return any(path.startswith(one) if one.endswith("/") else path == one for one in OPEN)
