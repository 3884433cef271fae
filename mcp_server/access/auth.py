"""
Authenticates callers by Kubernetes tokens, with TokenReviews.

A token must have been issued for the audience ``agentrun``, so that a token a pod has for another
purpose is not valid here. Authorization is separate: see ``mcp_server.access.subjects``.
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

from agentrun.kube.errors import ApiError
from mcp_server.access.reviews import (
    Reviews,
    TokenRefusedError,
    TokenReviewer,
    TooManyReviewsError,
    is_valid,
)

AUDIENCE = "agentrun"
"""The audience of clients' tokens: ``kubectl create token NAME --audience agentrun``."""

SERVICE_ACCOUNT = "system:serviceaccount:"
"""The prefix of a ServiceAccount's username; its namespace, a colon and its name follow."""


@dataclass(frozen=True)
class Caller:
    """The authenticated caller of a request."""

    username: str
    groups: tuple[str, ...] = ()
    agent_name: str | None = None
    """The name of the agent that calls from its pod; None for other callers."""

    @property
    def namespace(self) -> str | None:
        """The namespace of a ServiceAccount; None for other callers."""
        if not self.username.startswith(SERVICE_ACCOUNT):
            return None
        return self.username.removeprefix(SERVICE_ACCOUNT).partition(":")[0]


class ReviewUnavailableError(Exception):
    """A token cannot be reviewed now. The request may be retried."""


class KubernetesTokenVerifier(TokenVerifier):
    """Verifies tokens with TokenReviews, and caches the results for a minute."""

    def __init__(
        self, reviewer: TokenReviewer, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._reviews = Reviews(reviewer, AUDIENCE, _caller, monotonic)

    async def verify_token(self, token: str) -> AccessToken | None:
        """
        Return the caller that ``token`` authenticates, None if it is not valid here.

        Raises ReviewUnavailableError if the token cannot be reviewed now.
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
    if not is_valid(status, AUDIENCE):
        raise TokenRefusedError(f"The token has expired, or is not for the audience {AUDIENCE}.")
    user = status.get("user", {})
    return Caller(str(user.get("username", "")), tuple(user.get("groups", [])))


def current_caller() -> Caller:
    """Return the caller of the current request. Raises ToolError without authentication."""
    token = get_access_token()
    if token is None:
        raise ToolError(
            "The request is not authenticated: send a Kubernetes token as bearer token."
        )
    return caller_of(token)


def caller_of(token: AccessToken) -> Caller:
    """Return the caller of a token that ``KubernetesTokenVerifier`` verified."""
    return Caller(token.client_id, tuple((token.claims or {}).get("groups", [])))


class ReviewUnavailableResponse:
    """Responds 503 while tokens cannot be reviewed: on 401, clients would log in again."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; tokens are verified before any response has started."""
        try:
            await self._app(scope, receive, send)
        except ReviewUnavailableError as error:
            response = JSONResponse(
                {
                    "error": "temporarily_unavailable",
                    "error_description": "The Kubernetes API server cannot review the token"
                    f" at the moment: {error}. Try again in a few seconds.",
                },
                status_code=503,
                headers={"Retry-After": "5"},
            )
            await response(scope, receive, send)
