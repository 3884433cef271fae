"""
The bearer token that authenticates the client to the MCP server.

It comes from a TokenRequest for a ServiceAccount without permissions, lasts an hour, and is renewed
well before it expires: a client's session lasts for days.
"""

import time
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from typing import Protocol

import httpx2

from agentrun.cli.connection.kube import UserCluster
from agentrun.cli.problems import AwayError, CliError, RefusedError
from agentrun.kube.api import Object

AUDIENCE = "agentrun"
"""The audience that the MCP server requires of a token."""
CLIENT = "agentrun-client"
"""The ServiceAccount that the chart creates for clients."""

_SECONDS = 3600
_RENEW_AFTER = 0.7
_FORBIDDEN, _MISSING = 403, 404


class TokenSource(Protocol):
    """A source of bearer tokens."""

    async def get(self) -> str:
        """Return a token that is valid now."""

    async def renew(self, refused: str) -> str:
        """Return another token than the rejected one, if there can be another."""


class GivenToken:
    """A token from the user. It cannot be renewed."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get(self) -> str:
        """Return the token."""
        return self._token

    async def renew(self, refused: str) -> str:
        """Return the same token."""
        return self._token


class RequestedToken:
    """Tokens from TokenRequests. Each is used for the first part of its lifetime."""

    def __init__(
        self,
        kube: UserCluster,
        namespace: str,
        account: str = CLIENT,
        *,
        role: str = "agentrun-user-token",
        seconds: int = _SECONDS,
        renew_after: float = _RENEW_AFTER,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._account = account
        self._role = role
        self._seconds = seconds
        self._renew_after = renew_after
        # The wall clock: a monotonic clock may stop while a laptop sleeps.
        self._clock = clock
        self._token = ""
        self._renew_at = self._ends_at = 0.0

    async def get(self) -> str:
        """Return the current token, or a new one if it is due for renewal."""
        if self._clock() < self._renew_at:
            return self._token
        try:
            return await self._request()
        except AwayError:
            if self._clock() >= self._ends_at:
                raise
            # Fall back to the old token while it is still valid.
            return self._token

    async def renew(self, refused: str) -> str:
        """Return another token than ``refused``: the current one, or else a new one."""
        return self._token if self._token != refused else await self._request()

    async def _request(self) -> str:
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{self._account}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [AUDIENCE], "expirationSeconds": self._seconds},
        }
        asked = self._clock()
        try:
            answer = await self._kube.post(path, body)
        except RefusedError as error:
            raise CliError(self._explain(error)) from error
        life = lifetime(answer)
        self._token = str(answer["status"]["token"])
        self._renew_at = asked + life * self._renew_after
        self._ends_at = asked + life
        return self._token

    def _explain(self, error: RefusedError) -> str:
        account = f"ServiceAccount {self._account} in namespace {self._namespace}"
        if error.status == _MISSING:
            return (
                f"there is no {account} ({error}): name the namespace of your runs with"
                " --namespace, or another account with --service-account"
            )
        if error.status == _FORBIDDEN:
            return (
                f"you have no permission to create tokens of {account}: ask an administrator to run"
                f" `kubectl create rolebinding {self._role} -n {self._namespace}"
                f" --role={self._role} --user=YOU` (it grants `create` on serviceaccounts/token for"
                f" {self._account}), or give --token"
            )
        return f"no token of {account} was created: {error}"


class BearerAuth(httpx2.Auth):
    """Sends the token with each request. After a 401 response it retries once with another."""

    def __init__(self, tokens: TokenSource) -> None:
        self._tokens = tokens

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send ``request``."""
        token = await self._tokens.get()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            other = await self._tokens.renew(token)
            if other != token:
                request.headers["Authorization"] = f"Bearer {other}"
                yield request


def lifetime(answer: Object) -> float:
    """Return the lifetime of a TokenRequest's token in seconds, by the API server's clock only."""
    made = answer["metadata"].get("creationTimestamp")
    if not made:
        return float(answer["spec"]["expirationSeconds"])
    ends = answer["status"]["expirationTimestamp"]
    return (datetime.fromisoformat(ends) - datetime.fromisoformat(made)).total_seconds()
