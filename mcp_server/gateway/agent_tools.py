"""
The MCP endpoint for the agents of runs: ``POST /v1/mcp``.

The runner relays the agent's requests. The token authenticates the run, the run's profile lists the
allowed tools, and ``mcp_server.access.agent_policy`` authorizes each call.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import CallToolResult, InputRequiredResult, Tool
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agentrun import __version__
from agentrun.api.gateway import MAX_MCP_BYTES
from mcp_server.access.agent_policy import AgentCaller, AgentPolicy, Lineage
from mcp_server.gateway.runner_identity import RunnerAuthenticator
from mcp_server.schemas.strict import StrictServer, within_bounds, without_false_is_error
from mcp_server.tools import ALL_TOOLS
from mcp_server.tools.context import ToolContext

INSTRUCTIONS = """\
These are the tools of AgentRun, which runs you in a pod on Kubernetes. list_agents lists the other
agents; send_agent_message sends a message to one, and fetch_agent_messages reads your messages.
If spawn_run is offered, you may delegate work to runs of your own: follow one with poll_events,
and read its result with get_run. They are cancelled when your run is.
"""


_agent: ContextVar[AgentCaller] = ContextVar("agent")
"""The agent that makes the current request: the SDK passes no request to ``list_tools``."""


class AgentServer(StrictServer):
    """An MCP server that offers each agent the tools that its profile allows."""

    async def list_tools(self) -> list[Tool]:
        """List the tools that the calling agent may use."""
        allowed = _agent.get().allowed
        return [tool for tool in await super().list_tools() if tool.name in allowed]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool. Raises ToolError if the agent may not use it."""
        who = _agent.get()
        if name not in who.allowed:
            raise ToolError(
                f"Profile {who.profile_name} does not allow tool {name}."
                f" Allowed: {', '.join(sorted(who.allowed)) or 'no tools'}."
            )
        return await super().call_tool(name, arguments, context)


class AgentToolsEndpoint:
    """The endpoint /v1/mcp."""

    def __init__(self, context: ToolContext, runners: RunnerAuthenticator) -> None:
        self._runners = runners
        lineage = Lineage(context.store)
        own = replace(context, policy=lambda: AgentPolicy(_agent.get(), context.runs, lineage))
        server = AgentServer(
            "agentrun",
            title="AgentRun",
            version=__version__,
            instructions=INSTRUCTIONS,
            subscriptions=False,
            middleware=[within_bounds, without_false_is_error],
        )
        for add in ALL_TOOLS:
            add(server, own)
        server.streamable_http_app(
            stateless_http=True,
            # All requests come from runners and have a token.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            max_request_body_size=MAX_MCP_BYTES,
        )
        self._manager = server.session_manager

    @property
    def route(self) -> Route:
        """The route."""
        return Route("/v1/mcp", _Endpoint(self), methods=["POST"])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the session manager during the block."""
        async with self._manager.run():
            yield

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate and handle a request of an agent."""
        token = _agent.set(await self._caller(Request(scope, receive)))
        try:
            await self._manager.handle_request(scope, receive, send)
        finally:
            _agent.reset(token)

    async def _caller(self, request: Request) -> AgentCaller:
        runner = await self._runners.identify_writer(request)
        profile = await self._runners.profile_of(runner)
        return AgentCaller(runner.run, runner.row.session_uid, profile.spec)


class _Endpoint:
    """An ASGI application: Starlette expects a function to return a Response."""

    def __init__(self, tools: AgentToolsEndpoint) -> None:
        self._tools = tools

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._tools.serve(scope, receive, send)
