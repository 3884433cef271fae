"""The MCP server: tools, resources, prompts, authentication, and the routes for probes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mcp.server.auth.provider import TokenVerifier
from mcp.server.auth.routes import build_resource_metadata_url
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan

from agentrun import __version__
from agentrun.store.base import RunStore, StoreError
from mcp_server.access.auth import ReviewUnavailableResponse
from mcp_server.http.guard import Guard
from mcp_server.http.hosts import HostCheck
from mcp_server.http.requests import OneMediaType, WithoutTrailingSlash
from mcp_server.schemas.strict import StrictServer, within_bounds, without_false_is_error
from mcp_server.server.prompts import add_prompts
from mcp_server.server.resources import add_resources
from mcp_server.server.subscriptions import ResourceSubscriptions
from mcp_server.settings import Settings
from mcp_server.tools import ALL_TOOLS
from mcp_server.tools.context import ToolContext

INSTRUCTIONS = """\
AgentRun runs coding agents (Codex, Claude Code and others) in pods on Kubernetes.

1. spawn_run starts an agent on a task and immediately returns a run_id.
2. poll_events follows it: start with after_seq 0, then pass next_after_seq, until the status is
   completed, failed, cancelled or rejected.
   Events contain only previews of large fields; get_event_artifact reads a field in full.
3. get_run shows the result: the agent's answer, and the branch and commit of its change.
   A run whose status is input_required or auth_required waits for you: answer its question with
   continue_run. continue_run also continues a run that has ended.
cancel_run stops a run; its status is cancelled only when no process of it is left.
list_runs finds runs, including old ones. Several runs may be active at the same time.
list_agents lists the agents, which outlive their runs; send_agent_message sends a message to an
agent, and fetch_agent_messages reads the messages to an agent.
"""

_PATH = "/mcp"
_PROBE_SECONDS = 3


def build_server(
    context: ToolContext, verifier: TokenVerifier | None = None, auth: AuthSettings | None = None
) -> StrictServer:
    """Build the MCP server with its tools; without a verifier, for in-memory tests."""
    following = ResourceSubscriptions(context)
    server = StrictServer(
        "agentrun",
        title="AgentRun",
        version=__version__,
        instructions=INSTRUCTIONS,
        token_verifier=verifier,
        auth=auth,
        subscriptions=following.bus,
        middleware=[within_bounds, without_false_is_error, following.middleware],
    )
    add_resources(server, context)
    add_prompts(server)
    for add in ALL_TOOLS:
        add(server, context)
    return server


def auth_settings(settings: Settings) -> AuthSettings:
    """Return the auth settings; resource metadata is served only if a public URL is set."""
    resource = AnyHttpUrl(f"{settings.public_url}{_PATH}") if settings.public_url else None
    return AuthSettings(
        issuer_url=AnyHttpUrl(settings.issuer_url),
        resource_server_url=resource,
        # The TokenReview checks the audience.
        validate_token_resource=False,
    )


def build_app(
    context: ToolContext,
    verifier: TokenVerifier,
    settings: Settings,
    is_watching: Callable[[], bool],
) -> Starlette:
    """Build the ASGI application of port 8080: /mcp, /healthz and /readyz."""
    auth = auth_settings(settings)
    app = _http_app(build_server(context, verifier, auth))
    in_json = build_server(context, verifier, auth)
    _http_app(in_json, is_json=True)
    app.router.routes.extend(_probes(context, is_watching))
    app.router.lifespan_context = _running(app.router.lifespan_context, in_json)
    # The last middlewares are the innermost: they run after authentication.
    app.user_middleware += [
        Middleware(Guard, policy=context.policy, metadata_url=_metadata_url(settings)),
        Middleware(OneMediaType, path=_PATH, in_json=in_json.session_manager),
    ]
    app.add_middleware(ReviewUnavailableResponse)
    app.add_middleware(HostCheck, allowed=settings.allowed_hosts)
    app.add_middleware(WithoutTrailingSlash)
    return app


def _http_app(server: StrictServer, *, is_json: bool = False) -> Starlette:
    app: Starlette = server.streamable_http_app(
        streamable_http_path=_PATH,
        stateless_http=True,
        json_response=is_json,
        # HostCheck does this for every route, and accepts IP addresses.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return app


def _running(first: Lifespan[Starlette], second: StrictServer) -> Lifespan[Starlette]:
    """Return the lifespan of an application in which a second server runs as well."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with first(app), second.session_manager.run():
            yield

    return lifespan


def _metadata_url(settings: Settings) -> AnyHttpUrl | None:
    resource = auth_settings(settings).resource_server_url
    return build_resource_metadata_url(resource) if resource else None


def _probes(context: ToolContext, is_watching: Callable[[], bool]) -> list[Route]:
    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        missing = {
            "stopping": context.leaving.is_set(),
            "the event store cannot be read": not await _is_readable(context.store),
            "the runs of the cluster are not being watched": not is_watching(),
        }
        why = [reason for reason, holds in missing.items() if holds]
        if why:
            return JSONResponse({"status": "not ready", "why": why}, status_code=503)
        note = context.runs.quarantine.describe()
        return JSONResponse({"status": "ok", "note": note} if note else {"status": "ok"})

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


async def _is_readable(store: RunStore) -> bool:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            await store.get_run_by_uid("")
    except (StoreError, TimeoutError):
        return False
    return True
