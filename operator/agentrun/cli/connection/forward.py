"""
HTTP to a pod through the API server, without a local port.

``PodNetwork`` replaces the TCP backend of an HTTP client. It opens a port-forward to a ready pod:
a websocket with subprotocol v4.channel.k8s.io, whose binary messages carry a channel number in
their first byte. Channel 0 carries the data, channel 1 errors; the first message of each only
repeats the port.
https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp
import httpcore2

from agentrun.cli.connection.kube import UserCluster
from agentrun.cli.connection.pods import Pod, Pods
from agentrun.cli.problems import AwayError, CliError, RefusedError

PROTOCOL = "v4.channel.k8s.io"

_DATA, _ERROR = 0, 1
_CHUNK = 32 * 1024
_FORBIDDEN = 403
# Errors of kubelets that could not connect to the pod: nothing was delivered.
_NOT_CONNECTED = ("connection refused", "failed to connect", "failed to dial", "not running")


class PodNetwork(httpcore2.AsyncNetworkBackend):
    """A network backend that connects every address to the MCP server."""

    def __init__(self, kube: UserCluster, pods: Pods, denied: str) -> None:
        self._kube = kube
        self._pods = pods
        self._denied = denied

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Open a connection to a ready pod."""
        pod = await self._pods.current()
        try:
            return PodStream(await self._open(pod), pod, self._pods)
        except RefusedError as error:
            self._pods.drop(pod)
            if error.status == _FORBIDDEN:
                raise CliError(
                    f"you have no permission to forward ports: {self._denied}"
                ) from error
            raise AwayError(
                f"no port-forward to pod {pod.namespace}/{pod.name}: the API server answered"
                f" {error.status} {error}; try again"
            ) from error

    async def _open(self, pod: Pod) -> aiohttp.ClientWebSocketResponse:
        return await self._kube.websocket(pod.forward_path, {"ports": str(pod.port)}, PROTOCOL)

    async def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``."""
        await asyncio.sleep(seconds)


class PodStream(httpcore2.AsyncNetworkStream):
    """One connection to a pod."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, pod: Pod, pods: Pods) -> None:
        self._socket = socket
        self._pod = pod
        self._pods = pods
        self._buffer = b""
        self._begun: set[int] = set()
        self._has_answered = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Return received data, at most ``max_bytes``; empty at the end of the stream."""
        try:
            async with asyncio.timeout(timeout):
                while not self._buffer and not self._socket.closed:
                    self._take(await self._socket.receive())
        except TimeoutError as error:
            self._pods.drop(self._pod)
            raise httpcore2.ReadTimeout(f"pod {self._pod.name} sent nothing in time") from error
        data, self._buffer = self._buffer[:max_bytes], self._buffer[max_bytes:]
        if not data:
            self._pods.drop(self._pod)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send all of ``buffer``."""
        try:
            async with asyncio.timeout(timeout):
                for start in range(0, len(buffer), _CHUNK):
                    part = buffer[start : start + _CHUNK]
                    await self._socket.send_bytes(bytes([_DATA]) + part)
        except TimeoutError as error:
            raise httpcore2.WriteTimeout(f"pod {self._pod.name} accepts no data") from error
        except (OSError, aiohttp.ClientError) as error:
            self._pods.drop(self._pod)
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        """Close the connection."""
        await self._socket.close()

    def get_extra_info(self, info: str) -> Any:
        """Return None: the stream has no socket of its own."""
        return None

    def _take(self, message: aiohttp.WSMessage) -> None:
        if message.type is aiohttp.WSMsgType.ERROR:
            # The API server does not respond or is unreachable, or the laptop was asleep.
            self._pods.drop(self._pod)
            raise httpcore2.ReadError(f"the port-forward broke off: {message.data!r}")
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            return
        channel, data = message.data[0], message.data[1:]
        if channel not in self._begun:
            self._begun.add(channel)
        elif channel == _DATA:
            self._has_answered = True
            self._buffer += data
        elif channel == _ERROR and data:
            self._fail(data.decode(errors="replace").strip())

    def _fail(self, text: str) -> None:
        self._pods.drop(self._pod)
        if not self._has_answered and any(words in text for words in _NOT_CONNECTED):
            raise AwayError(f"pod {self._pod.name} of the MCP server does not answer: {text}")
        raise httpcore2.ReadError(text)
