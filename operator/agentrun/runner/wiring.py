"""
Construction of the parts around the agent: the provider proxy, tools, and the driver.

Each is imported only where it is needed: together they would exceed the runner's memory limit.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from agentrun.api.gateway import Task
from agentrun.runner.backends import RETRY_SECONDS, key_headers
from agentrun.runner.driver import AgentDriver
from agentrun.runner.gateway import Gateway
from agentrun.runner.journal.journal import Journal
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.layout import Layout
from agentrun.runner.loading import quickly
from agentrun.runner.pipes import Pipes
from agentrun.runner.questions import Questions
from agentrun.runner.secrets import (
    mcp_secret,
    provider_key,
    remote_credentials,
    remote_credentials_card,
    remote_credentials_url,
)
from agentrun.runner.settings import Settings
from agentrun.runner.status_reporter import StatusReporter
from agentrun.runner.tasks import cancel

if TYPE_CHECKING:
    from agentrun.runner.provider.proxy import ProviderProxy


def make_driver(
    settings: Settings,
    layout: Layout,
    pipes: Pipes,
    journal: Journal,
    reporter: StatusReporter,
    questions: Questions,
    redactor: Redactor,
) -> AgentDriver:
    """Create the driver for the agent in the pod, or for a remote agent."""
    if settings.is_remote:
        from agentrun.runner.a2a.config import ShownCredentials
        from agentrun.runner.a2a.driver import A2aDriver

        given = ShownCredentials(
            remote_credentials(layout), remote_credentials_url(layout),
            remote_credentials_card(layout), provider_key(layout), settings.provider,
        )  # fmt: skip
        return A2aDriver(journal, reporter, questions, redactor.text, given)
    with quickly():
        from agentrun.runner.acp.driver import AcpDriver

    workspace, backend = str(layout.workspace), settings.backend
    return AcpDriver(pipes, journal, reporter, redactor, workspace, backend, questions)


def make_proxy(settings: Settings, layout: Layout, task: Task) -> "ProviderProxy | None":
    """Create the proxy to the model's provider, which holds the key; None if there is none."""
    if not settings.provider or settings.is_remote:
        return None
    from agentrun.runner.provider.proxy import ProviderProxy
    from agentrun.runner.provider.rules import Rules

    key = provider_key(layout)
    headers = key_headers(settings.backend, key) if key else {}
    rules = Rules.of(task.profile, task.spec.model)
    patience = RETRY_SECONDS.get(settings.backend)
    return ProviderProxy(settings.provider, headers, rules, layout.capability, patience)


@asynccontextmanager
async def served_tools(
    task: Task, layout: Layout, pipes: Pipes, gateway: Gateway, conversation: AgentDriver
) -> AsyncIterator[str]:
    """Serve AgentRun's own tools and ``peer`` in the pod during the block; yield the tools' URL."""
    from agentrun.runner.mcp_relay import McpRelay
    from agentrun.runner.peer.commands import Peer
    from agentrun.runner.peer.server import PeerServer

    tools = McpRelay(gateway)
    async with tools.serve(layout.tools_port, layout.tools_path) as url:
        desk = PeerServer(pipes, Peer(task, gateway, tools, conversation).respond)
        calls = asyncio.create_task(desk.serve())
        try:
            yield url
        finally:
            await cancel(calls)


def mcp_servers(task: Task, layout: Layout, own: str, capabilities: Any) -> list[Any]:
    """List the MCP servers for the agent: the profile's, and AgentRun's own tools at ``own``."""
    from agentrun.runner.acp.mcp_servers import acp_servers, own_server
    from agentrun.runner.mcp_relay import NAME

    given = task.profile.mcp_servers
    servers = acp_servers(given, lambda key: mcp_secret(layout, key))
    # A server of the profile with this name takes precedence over AgentRun's.
    if task.profile.agent_tools.allowed and NAME not in {one.name for one in given}:
        servers += own_server(NAME, own, capabilities)
    return servers
