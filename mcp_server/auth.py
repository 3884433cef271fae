"""
Who is calling: Kubernetes tokens, checked by the API server.

A token must have been issued for the audience ``agentrun``, so that a token a pod holds for
another purpose opens nothing here. Who it speaks for is all that it says: whether they may call is
for ``mcp_server.access``.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.mcpserver.exceptions import ToolError
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server.kube import ApiError

AUDIENCE = "agentrun"
"""The audience of clients' tokens: ``kubectl create token NAME --audience agentrun``."""

_REMEMBER_SECONDS = 60.0
_REMEMBER_REFUSAL_SECONDS = 5.0
_REMEMBER_MOST = 4096

SERVICE_ACCOUNT = "system:serviceaccount:"
"""How the username of a ServiceAccount begins; its namespace, a colon and its name follow."""


@dataclass(frozen=True)
class Caller:
    """Who makes a request, as the API server knows them."""

    username: str
    groups: tuple[str, ...] = ()
    agent_name: str | None = None
    """The agent that calls from its pod; None for everybody else."""

    @property
    def namespace(self) -> str | None:
        """The namespace of a service account; None for anybody else."""
        if not self.username.startswith(SERVICE_ACCOUNT):
            return None
        return self.username.removeprefix(SERVICE_ACCOUNT).partition(":")[0]


class TokenReviewer(Protocol):
    """Whoever can say whom a token speaks for: the API server."""

    async def review_token(self, token: str, audience: str) -> dict[str, Any]:
        """Return the status of a TokenReview."""


class ReviewUnavailable(Exception):  # noqa: N818 - what it is, not that it is an error
    """The API server cannot be asked about a token just now."""


class KubernetesTokenVerifier(TokenVerifier):
    """Ask the API server about each token, and remember the answer for a minute."""

    def __init__(
        self, reviewer: TokenReviewer, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._reviewer = reviewer
        self._monotonic = monotonic
        # By digest: a dump of this process must not hold its clients' tokens.
        self._remembered: dict[bytes, tuple[float, Caller | None]] = {}

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return whom ``token`` speaks for, None for a token that is not valid here."""
        digest = hashlib.sha256(token.encode()).digest()
        until, caller = self._remembered.get(digest, (0.0, None))
        if until <= self._monotonic():
            caller = await self._review(token)
            self._remember(digest, caller)
        if caller is None:
            return None
        return AccessToken(
            token=digest.hex(),
            client_id=caller.username,
            subject=caller.username,
            scopes=[],
            claims={"groups": list(caller.groups)},
        )

    async def _review(self, token: str) -> Caller | None:
        try:
            status = await self._reviewer.review_token(token, AUDIENCE)
        except ApiError as error:
            raise ReviewUnavailable(str(error)) from error
        # An API server that does not know audiences answers without them.
        if not status.get("authenticated") or AUDIENCE not in status.get("audiences", []):
            return None
        user = status.get("user", {})
        return Caller(str(user.get("username", "")), tuple(user.get("groups", [])))

    def _remember(self, digest: bytes, caller: Caller | None) -> None:
        now = self._monotonic()
        if len(self._remembered) >= _REMEMBER_MOST:
            fresh = {key: entry for key, entry in self._remembered.items() if entry[0] > now}
            self._remembered = fresh if len(fresh) < _REMEMBER_MOST else {}
        seconds = _REMEMBER_SECONDS if caller else _REMEMBER_REFUSAL_SECONDS
        self._remembered[digest] = (now + seconds, caller)


def current_caller() -> Caller:
    """Return who makes the current request."""
    token = get_access_token()
    if token is None:
        raise ToolError("Nobody is authenticated: call with a Kubernetes token as bearer token.")
    return caller_of(token)


def caller_of(token: AccessToken) -> Caller:
    """Return whom a token speaks for that ``KubernetesTokenVerifier`` has let pass."""
    return Caller(token.client_id, tuple((token.claims or {}).get("groups", [])))


class ReviewUnavailableResponse:
    """Answer 503 while tokens cannot be checked: a 401 would send clients off to log in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on; tokens are checked before any answer has begun."""
        try:
            await self._app(scope, receive, send)
        except ReviewUnavailable as error:
            response = JSONResponse(
                {
                    "error": "temporarily_unavailable",
                    "error_description": "The Kubernetes API server cannot check the token"
                    f" just now: {error}. Try again in a few seconds.",
                },
                status_code=503,
                headers={"Retry-After": "5"},
            )
            await response(scope, receive, send)
