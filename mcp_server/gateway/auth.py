"""
Which pod a token belongs to, as the API server knows it.

Only tokens that are bound to a pod and made for the gateway's audience count. What was found
valid is remembered for a minute, by digest; what was not is asked again each time.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from agentrun.api.gateway import TOKEN_AUDIENCE
from mcp_server.auth import SERVICE_ACCOUNT, TokenReviewer
from mcp_server.gateway.ports import ClusterUnavailable, PodIdentity, Unauthenticated
from mcp_server.kube import ApiError

_REMEMBER_SECONDS = 60.0
_REMEMBER_MOST = 4096
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"


class TokenReviewAuthenticator:
    """A PodAuthenticator that asks the API server."""

    def __init__(
        self, reviewer: TokenReviewer, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._reviewer = reviewer
        self._monotonic = monotonic
        self._remembered: dict[bytes, tuple[float, PodIdentity]] = {}

    async def authenticate(self, token: str) -> PodIdentity:
        """See ``PodAuthenticator``."""
        digest = hashlib.sha256(token.encode()).digest()
        until, pod = self._remembered.get(digest, (0.0, None))
        if pod is not None and self._monotonic() < until:
            return pod
        try:
            status = await self._reviewer.review_token(token, TOKEN_AUDIENCE)
        except ApiError as error:
            message = f"The API server cannot check the token: {error.message}."
            raise ClusterUnavailable(message) from error
        pod = read_identity(status)
        self._remember(digest, pod)
        return pod

    def _remember(self, digest: bytes, pod: PodIdentity) -> None:
        now = self._monotonic()
        if len(self._remembered) >= _REMEMBER_MOST:
            fresh = {key: entry for key, entry in self._remembered.items() if entry[0] > now}
            self._remembered = fresh if len(fresh) < _REMEMBER_MOST else {}
        self._remembered[digest] = (now + _REMEMBER_SECONDS, pod)


def read_identity(status: Mapping[str, Any]) -> PodIdentity:
    """Read the pod from a TokenReview's status."""
    # An API server that does not know audiences answers without them.
    if not status.get("authenticated") or TOKEN_AUDIENCE not in (status.get("audiences") or []):
        reason = status.get("error") or f"it is expired, or not for the audience {TOKEN_AUDIENCE}"
        raise Unauthenticated(f"The token is not valid: {reason}. Read it from its file again.")
    user = status.get("user") or {}
    extra = user.get("extra") or {}
    names, uids = extra.get(_POD_NAME) or [], extra.get(_POD_UID) or []
    username = str(user.get("username", ""))
    namespace = username.removeprefix(SERVICE_ACCOUNT).partition(":")[0]
    is_service_account = username.startswith(SERVICE_ACCOUNT) and namespace
    if len(names) != 1 or len(uids) != 1 or not is_service_account:
        message = f"The token of {username or 'nobody'} is not bound to a pod."
        raise Unauthenticated(f"{message} Use the one that is mounted into the runner.")
    return PodIdentity(namespace, str(names[0]), str(uids[0]))
