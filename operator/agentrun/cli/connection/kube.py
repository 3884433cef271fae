"""
A minimal Kubernetes client for the user's side: objects, tokens and websockets.

Each request opens its own connection: a laptop sleeps and changes networks, and a connection that
was kept open across that hangs. Credentials are reloaded when the API server rejects them: many
clouds issue credentials that last for minutes, while a client's session lasts for days.
"""

from collections.abc import Mapping
from typing import Any

import aiohttp

from agentrun.api.bounded_json import read_kept
from agentrun.cli.connection.kubeconfig import log_in, place_of
from agentrun.cli.problems import AwayError, CliError, RefusedError
from agentrun.kube.api import Object
from agentrun.kube.kubeconfig import Login

_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=8)
# The interval of websocket pings; a websocket that does not answer one is closed.
_HEARTBEAT_SECONDS = 15.0
# No data is in flight when a websocket is closed here.
_WEBSOCKET = aiohttp.ClientWSTimeout(ws_close=0.5)


class UserCluster:
    """The API server of the user's kubeconfig. Every method may raise ``CliError``."""

    def __init__(self, login: Login, kubeconfig: str, context: str) -> None:
        self._login = login
        self._from = (kubeconfig, context)
        connector = aiohttp.TCPConnector(force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=True)

    @classmethod
    async def connect(cls, kubeconfig: str, context: str) -> "UserCluster":
        """Load the kubeconfig. No request is sent."""
        return cls(await log_in(kubeconfig, context), kubeconfig, context)

    async def close(self) -> None:
        """Close the HTTP session."""
        await self._session.close()

    @property
    def place(self) -> str:
        """The name of the API server in messages."""
        return place_of(self._login, self._from[1])

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        """Return the object at ``path``."""
        return await self._json("GET", path, query)

    async def post(self, path: str, body: Object) -> Object:
        """Send ``body`` to ``path`` and return the response."""
        return await self._json("POST", path, None, body)

    async def websocket(
        self, path: str, query: Mapping[str, str], protocol: str
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a websocket at ``path``."""
        try:
            socket: aiohttp.ClientWebSocketResponse = await self._session.ws_connect(
                self._login.host + path,
                params=query,
                headers=await self._login.headers(),
                protocols=(protocol,),
                heartbeat=_HEARTBEAT_SECONDS,
                timeout=_WEBSOCKET,
                max_msg_size=0,
                **self._connecting(),
            )
            return socket
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 401:
                await self._renew_login()
            raise RefusedError(error.status, error.message) from error
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            raise self._away(error) from error

    async def _json(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Object | None = None
    ) -> Object:
        status, text = await self._send(method, path, query, body)
        if status == 401:
            await self._renew_login()
            status, text = await self._send(method, path, query, body)
        try:
            answer = read_kept(text)
        except ValueError:
            answer = {"message": text[:300] or f"HTTP {status}"}
        if status < 400 and isinstance(answer, dict):
            return answer
        message = str(answer.get("message")) if isinstance(answer, dict) else text[:300]
        if status == 401:
            raise CliError(
                f"the API server {self.place} does not accept the kubeconfig's credentials:"
                " log in again, and try `kubectl auth whoami`"
            )
        if status == 429 or status >= 500:
            raise AwayError(f"the API server {self.place} is temporarily unavailable: {message}")
        raise RefusedError(status, message)

    async def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Object | None
    ) -> tuple[int, str]:
        try:
            async with self._session.request(
                method,
                self._login.host + path,
                params=query,
                json=body,
                headers=await self._login.headers(),
                timeout=_TIMEOUT,
                **self._connecting(),
            ) as response:
                return response.status, await response.text()
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            raise self._away(error) from error

    async def _renew_login(self) -> None:
        self._login = await log_in(*self._from)

    def _connecting(self) -> dict[str, Any]:
        return {
            "ssl": self._login.tls,
            "server_hostname": self._login.server_name,
            "proxy": self._login.proxy,
        }

    def _away(self, error: Exception) -> AwayError:
        why = str(error) or type(error).__name__
        return AwayError(
            f"the API server {self.place} cannot be reached: {why}; check the network or VPN,"
            " and that kubectl works"
        )
