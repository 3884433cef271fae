"""
An API server over HTTP, as the command line uses it, and an MCP server behind a port-forward.

Its objects are those of the API server in memory (``tests/fake_kube.py``).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from agentrun.cli.connection.discovery import RUN_NAMESPACES, SELECTOR
from agentrun.cli.options import ConnectionOptions
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import PODS, Resource
from tests.fake_kube import FakeKube

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SERVICES = Resource("/api/v1", "services")
READY = [{"type": "Ready", "status": "True"}]
MADE = datetime(2026, 1, 1, tzinfo=UTC)


def service(namespace: str = "agentrun-system", name: str = "agentrun-mcp") -> Json:
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": dict(label.split("=") for label in SELECTOR.split(",")),
            "annotations": {RUN_NAMESPACES: "team-a,team-b"},
        },
        "spec": {
            "selector": {"app": "front"},
            "ports": [{"name": "mcp", "port": 8080, "targetPort": "mcp"}],
        },
    }


def pod(name: str = "front-1", conditions: list[Json] = READY, **meta: Any) -> Json:
    ports = [{"name": "mcp", "containerPort": 8080}]
    labels = {"app": "front"}
    return {
        "metadata": {"namespace": "agentrun-system", "name": name, "labels": labels, **meta},
        "spec": {"containers": [{"name": "mcp-server", "ports": ports}]},
        "status": {"conditions": conditions},
    }


@dataclass
class FakeCluster:
    """The state that tests change, and what they check afterwards."""

    folder: Path
    kube: FakeKube = field(default_factory=FakeKube)
    denied: set[str] = field(default_factory=set)
    """Substrings of paths that are forbidden."""
    cannot_list: bool = False
    """Whether listing Services is forbidden, while reading one is allowed."""
    refusing: set[str] = field(default_factory=set)
    """Pods that refuse connections."""
    answer: Handler | None = None
    """Handles a message to the MCP server; by default it echoes its parameters."""
    messages: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    forwards: list[str] = field(default_factory=list)
    refused: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    """The pods to which a connection failed."""
    given_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client abandons a message while it is handled."""
    tokens_made: int = 0
    front_port: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self.have(SERVICES, service())
        self.have(PODS, pod())

    def have(self, resource: Resource, *objects: Json) -> None:
        """Replace all objects of a resource."""
        for plural, namespace, name in list(self.kube.objects):
            if plural == resource.plural:
                self.kube.remove(resource, namespace, name)
        for one in objects:
            self.kube.add(resource, one["metadata"]["namespace"], one)

    @property
    def kubeconfig(self) -> Path:
        file = self.folder / "kubeconfig"
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
        context = {"name": "home", "context": {"cluster": "c", "user": "u"}}
        users = [{"name": "u", "user": {"token": "mine"}}]
        content = {"clusters": [cluster], "contexts": [context], "users": users}
        file.write_text(json.dumps({**content, "current-context": "home"}))
        return file

    def options(self, **more: str) -> ConnectionOptions:
        return ConnectionOptions(kubeconfig=str(self.kubeconfig), **more)

    def api(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        core = "/api/v1/namespaces/{namespace}"
        app.router.add_get("/api/v1/{plural}", self._list)
        app.router.add_get(f"{core}/{{plural}}", self._list)
        app.router.add_get(f"{core}/{{plural}}/{{name}}", self._get)
        app.router.add_get(f"{core}/pods/{{name}}/portforward", self._forward)
        app.router.add_post(f"{core}/serviceaccounts/{{name}}/token", self._token)
        return app

    def front(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/mcp", self._message)
        app.router.add_get("/readyz", _ready)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("authorization") != "Bearer mine":
            return _status(401, "Unauthorized")
        if any(word in request.path for word in self.denied):
            return _status(403, f"{request.path} is forbidden")
        return await handler(request)

    async def _list(self, request: web.Request) -> web.Response:
        if self.cannot_list and request.match_info["plural"] == SERVICES.plural:
            return _status(403, "services is forbidden")
        resource = Resource("/api/v1", request.match_info["plural"])
        namespace = request.match_info.get("namespace", "")
        items, version = await self.kube.list(
            resource if namespace else resource.in_all_namespaces,
            namespace,
            labels=request.query.get("labelSelector", ""),
        )
        return web.json_response({"items": items, "metadata": {"resourceVersion": version}})

    async def _get(self, request: web.Request) -> web.Response:
        asked = request.match_info
        resource = Resource("/api/v1", asked["plural"])
        try:
            found = await self.kube.get(resource, asked["namespace"], asked["name"])
        except ApiError as error:
            return _status(error.status, error.message)
        return web.json_response(found)

    async def _token(self, request: web.Request) -> web.Response:
        if request.match_info["name"] != "agentrun-client":
            return _status(404, "serviceaccounts not found")
        spec = (await request.json())["spec"]
        self.tokens_made += 1
        ends = MADE + timedelta(seconds=spec["expirationSeconds"])
        return web.json_response(
            {
                "metadata": {"creationTimestamp": MADE.isoformat()},
                "spec": spec,
                "status": {
                    "token": f"{request.match_info['namespace']}-{self.tokens_made}",
                    "expirationTimestamp": ends.isoformat(),
                },
            }
        )

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        self.forwards.append(name)
        if not await self.kube.find(PODS, request.match_info["namespace"], name):
            return _status(404, f"pods {name} not found")
        socket = web.WebSocketResponse(protocols=["v4.channel.k8s.io"])
        await socket.prepare(request)
        for channel in (0, 1):
            await socket.send_bytes(
                bytes([channel]) + int(request.query["ports"]).to_bytes(2, "little")
            )
        if name in self.refusing:
            await socket.send_bytes(b"\x01failed to dial 8080: connection refused")
            await socket.close()
            self.refused.put_nowait(name)
            return socket
        reader, writer = await asyncio.open_connection("127.0.0.1", self.front_port)
        back = asyncio.create_task(_copy_back(reader, socket))
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                writer.write(message.data[1:])
        writer.close()
        back.cancel()
        return socket

    async def _message(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        self.messages.append(message)
        self.headers.append({key.lower(): value for key, value in request.headers.items()})
        if self.answer is None:
            return web.json_response(reply(message))
        try:
            return await self.answer(request)
        except asyncio.CancelledError:
            self.given_up.set()
            raise


def reply(message: Json, **result: Any) -> Json:
    return {"jsonrpc": "2.0", "id": message["id"], "result": result or message.get("params", {})}


async def _ready(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _copy_back(reader: asyncio.StreamReader, socket: web.WebSocketResponse) -> None:
    while data := await reader.read(65536):
        await socket.send_bytes(b"\x00" + data)
    await socket.close()


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "message": message}, status=code)


@asynccontextmanager
async def a_cluster(folder: Path) -> AsyncIterator[FakeCluster]:
    cluster = FakeCluster(folder)
    runners = []
    for name, app in (("front_port", cluster.front()), ("port", cluster.api())):
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        setattr(cluster, name, runner.addresses[0][1])
    try:
        yield cluster
    finally:
        for runner in reversed(runners):
            await runner.cleanup()
