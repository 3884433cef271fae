"""
Authenticates the pod that a token is bound to, with TokenReviews.

A token must be bound to a pod, issued for the gateway's audience, and belong to the ServiceAccount
of the pods of runs.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from agentrun.api.gateway import RUNNER_ACCOUNT, TOKEN_AUDIENCE
from agentrun.kube.errors import ApiError
from mcp_server.access.auth import SERVICE_ACCOUNT
from mcp_server.access.reviews import (
    Reviews,
    TokenRefusedError,
    TokenReviewer,
    TooManyReviewsError,
    is_valid,
)
from mcp_server.gateway.ports import ClusterUnavailableError, PodIdentity, UnauthenticatedError

_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"


class TokenReviewAuthenticator:
    """A ``PodAuthenticator`` that uses TokenReviews, and caches the results for a minute."""

    def __init__(
        self, reviewer: TokenReviewer, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._reviews = Reviews(reviewer, TOKEN_AUDIENCE, _pod, monotonic)

    async def authenticate(self, token: str) -> PodIdentity:
        """See ``PodAuthenticator``."""
        try:
            return await self._reviews.of(token)
        except TokenRefusedError as refusal:
            raise UnauthenticatedError(str(refusal)) from refusal
        except ApiError as error:
            message = f"The API server cannot review the token: {error.message}."
            raise ClusterUnavailableError(message) from error
        except TooManyReviewsError as error:
            raise ClusterUnavailableError(
                f"The token cannot be reviewed at the moment: {error}."
            ) from error


def _pod(status: Mapping[str, Any]) -> PodIdentity:
    if not is_valid(status, TOKEN_AUDIENCE):
        reason = (
            status.get("error") or f"it has expired, or is not for the audience {TOKEN_AUDIENCE}"
        )
        raise TokenRefusedError(f"The token is not valid: {reason}. Read it from its file again.")
    user = status.get("user") or {}
    extra = user.get("extra") or {}
    names, uids = extra.get(_POD_NAME) or [], extra.get(_POD_UID) or []
    username = str(user.get("username", ""))
    namespace = username.removeprefix(SERVICE_ACCOUNT).partition(":")[0]
    is_service_account = username.startswith(SERVICE_ACCOUNT) and namespace
    if len(names) != 1 or len(uids) != 1 or not is_service_account:
        message = f"The token of {username or 'nobody'} is not bound to a pod."
        raise TokenRefusedError(f"{message} Use the one that is mounted into the runner.")
    if username != f"{SERVICE_ACCOUNT}{namespace}:{RUNNER_ACCOUNT}":
        message = f"The token belongs to {username}, but pods of runs use {RUNNER_ACCOUNT}."
        raise TokenRefusedError(f"{message} Use the one that is mounted into the runner.")
    return PodIdentity(namespace, str(names[0]), str(uids[0]))
