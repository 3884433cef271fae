"""The HTTP server of the agents: each kind below a path, with its records at `/KIND/seen`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import (
    create_agent_card_routes,
    create_jsonrpc_routes,
    create_rest_routes,
)
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import a2a_pb2 as pb
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dev.a2a.faults import Faults
from dev.a2a.odd import odd_routes
from dev.a2a.script import Scripted


@dataclass(frozen=True)
class Kind:
    """The protocol variant of an agent."""

    streaming: bool = True
    old: bool = False
    """Whether the agent uses protocol version 0.3."""
    rest: bool = False
    """Whether the binding is HTTP+JSON instead of JSON-RPC."""
    wants: dict[str, str] = field(default_factory=dict)
    """The headers that every request must carry."""


TOKEN, TEAM = "development-a2a-token", "development-a2a-team"
KINDS = {
    "streaming": Kind(),
    "polled": Kind(streaming=False),
    "old": Kind(old=True),
    "old-polled": Kind(old=True, streaming=False),
    "rest": Kind(rest=True),
    "guarded": Kind(wants={"authorization": f"Bearer {TOKEN}", "x-team": TEAM}),
    "bearer": Kind(wants={"authorization": f"Bearer {TOKEN}"}),
}


def make_card(url: str, kind: Kind) -> pb.AgentCard:
    """Build the agent card for ``url``."""
    version = "0.3.0" if kind.old else "1.0"
    binding = "HTTP+JSON" if kind.rest else "JSONRPC"
    interface = pb.AgentInterface(url=url, protocol_binding=binding, protocol_version=version)
    return pb.AgentCard(
        name="scripted", description="Does what it is told.", version="1",
        supported_interfaces=[interface], default_input_modes=["text"],
        default_output_modes=["text"],
        capabilities=pb.AgentCapabilities(streaming=kind.streaming),
        skills=[pb.AgentSkill(id="steps", name="steps", description="steps", tags=["test"])],
    )  # fmt: skip


def make_app(url: str, agent: Scripted, kind: Kind) -> ASGIApp:
    """Build the server of an agent whose public URL is ``url``."""
    card = make_card(f"{url}/rpc", kind)
    handler = DefaultRequestHandler(agent, InMemoryTaskStore(), card)
    routes: list[BaseRoute] = [Route("/seen", lambda request: _seen(agent))]
    routes += create_agent_card_routes(card)
    if kind.rest:
        routes += create_rest_routes(handler, path_prefix="/rpc", enable_v0_3_compat=kind.old)
    else:
        routes += create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=kind.old)
    return Faults(_Guard(Starlette(routes=routes), kind.wants))


def make_all(url: str, agents: Mapping[str, Scripted] | None = None) -> Starlette:
    """Build the server of all kinds; ``agents`` has one for each, if a test inspects them."""
    agents = agents or {name: Scripted() for name in KINDS}
    mounted = [Mount(f"/{name}", make_app(f"{url}/{name}", agents[name], kind)) for name, kind in
               KINDS.items()]  # fmt: skip
    return Starlette(routes=[Route("/healthz", _healthy), *mounted, *odd_routes(url)])


def _healthy(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


def _seen(agent: Scripted) -> JSONResponse:
    return JSONResponse({"heard": agent.heard, "cancelled": agent.cancelled})


class _Guard:
    """Rejects requests without the required headers with 401, except those for ``/seen``."""

    def __init__(self, app: ASGIApp, wants: dict[str, str]) -> None:
        self._app = app
        self._wants = wants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and not scope["path"].endswith("/seen"):
            given = Headers(scope=scope)
            if any(given.get(name) != text for name, text in self._wants.items()):
                await JSONResponse({"error": "who are you?"}, 401)(scope, receive, send)
                return
        await self._app(scope, receive, send)
