"""
Who is calling: Kubernetes tokens, checked by the API server.

A token must have been issued for the audience ``agentrun``, so that a token a pod holds for
another purpose opens nothing here. Who it speaks for is all that it says: whether they may call is
for ``mcp_server.access``.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.mcpserver.exceptions import ToolError
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server.kube import ApiError
from mcp_server.reviews import Reviews, TokenRefusedError, TokenReviewer, TooManyReviewsError

AUDIENCE = "agentrun"
"""The audience of clients' tokens: ``kubectl create token NAME --audience agentrun``."""

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


class ReviewUnavailableError(Exception):
    """The API server cannot be asked about a token just now."""


class KubernetesTokenVerifier(TokenVerifier):
    """Ask the API server about each token, and remember the answer for a minute."""

    def __init__(
        self, reviewer: TokenReviewer, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._reviews = Reviews(reviewer, AUDIENCE, _caller, monotonic)

    async def verify_token(self, token: str) -> AccessToken | None:
        """
        Return whom ``token`` speaks for, None for a token that is not valid here.

        Raises ReviewUnavailable.
        """
        try:
            caller = await self._reviews.of(token)
        except TokenRefusedError:
            return None
        except (ApiError, TooManyReviewsError) as error:
            raise ReviewUnavailableError(str(error)) from error
        return AccessToken(
            token=hashlib.sha256(token.encode()).hexdigest(),
            client_id=caller.username,
            subject=caller.username,
            scopes=[],
            claims={"groups": list(caller.groups)},
        )


def _caller(status: Mapping[str, Any]) -> Caller:
    # An API server that does not know audiences answers without them.
    if not status.get("authenticated") or AUDIENCE not in (status.get("audiences") or []):
        raise TokenRefusedError(f"it is expired, or not for the audience {AUDIENCE}")
    user = status.get("user", {})
    return Caller(str(user.get("username", "")), tuple(user.get("groups", [])))


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
        except ReviewUnavailableError as error:
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
