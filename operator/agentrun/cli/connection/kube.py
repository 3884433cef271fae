"""
A minimal Kubernetes client for the user's side: kubeconfig, objects, tokens and websockets.

Each request opens its own connection: a laptop sleeps and changes networks, and a connection that
was kept open across that hangs. Credentials are reloaded when the API server rejects them: many
clouds issue credentials that last for minutes, while a client's session lasts for days.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from agentrun.api.bounded_json import read_kept
from agentrun.cli.problems import AwayError, CliError, RefusedError
from agentrun.kube import kubeconfig as kube_config
from agentrun.kube.api import Object
from agentrun.kube.kubeconfig import KubeconfigError, Login, contexts_in

_WITHOUT = "or reach AgentRun without one by --url and --token"


async def log_in(kubeconfig: str, context: str) -> Login:
    """Load the kubeconfig and run its credential plugin if it has one. Raises CliError."""
    files = _files(kubeconfig)
    try:
        return await kube_config.log_in(files, context)
    except KubeconfigError as error:
        raise CliError(_explain(error, files, context)) from error


def place_of(login: Login, context: str) -> str:
    """Return the name of the API server in messages."""
    name = f"context {context}" if context else "the current context"
    return f"{login.host} ({name})"


def _files(kubeconfig: str) -> list[Path]:
    named = kubeconfig or str(Path.home() / ".kube" / "config")
    paths = [Path(part).expanduser() for part in named.split(os.pathsep) if part]
    found = [path for path in paths if path.is_file()]
    if not found:
        places = ", ".join(map(str, paths))
        raise CliError(
            f"there is no kubeconfig at {places}: give --kubeconfig or set KUBECONFIG, {_WITHOUT}"
        )
    return found


def _explain(error: KubeconfigError, files: list[Path], context: str) -> str:
    places = ", ".join(map(str, files))
    known = sorted({name for file in files for name in contexts_in(file)})
    if context and known and context not in known:
        return f"context {context} is not in {places}: give --context one of {', '.join(known)}"
    if not context and known and "current-context" in str(error):
        return f"{places} names no current context: give --context one of {', '.join(known)}"
    return f"the kubeconfig {places} cannot be used: {error}; correct it, {_WITHOUT}"


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
