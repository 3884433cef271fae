"""What the runner serves to the agent in its pod: the provider's proxy, tools, and ``peer``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from acp.schema import McpCapabilities

from agentrun.api.gateway import Task
from agentrun.backends import backend_of
from agentrun.runner.acp.mailbox import Mailbox
from agentrun.runner.acp.mcp_servers import Server, acp_servers, own_server
from agentrun.runner.gateway import Gateway
from agentrun.runner.layout import Layout
from agentrun.runner.mcp_relay import NAME, McpRelay
from agentrun.runner.peer.commands import Peer
from agentrun.runner.peer.server import PeerServer
from agentrun.runner.pipes import Pipes
from agentrun.runner.provider.proxy import ProviderProxy
from agentrun.runner.provider.rules import Rules, key_headers
from agentrun.runner.secrets import mcp_secret, provider_key
from agentrun.runner.settings import Settings
from agentrun.runner.tasks import cancel


@dataclass(frozen=True)
class Served:
    """What is served to the agent."""

    proxy: ProviderProxy | None
    """The proxy to the model's provider, which holds the key; None if there is none."""
    tools_url: str
    """The URL of AgentRun's own tools."""


@dataclass(frozen=True)
class PodServices:
    """Serves on the pod's loopback interface, and in the shared folder."""

    settings: Settings
    layout: Layout
    pipes: Pipes
    gateway: Gateway

    @asynccontextmanager
    async def serve(self, task: Task, mailbox: Mailbox) -> AsyncIterator[Served]:
        """Serve during the block; messages that the agent reads itself are noted in ``mailbox``."""
        async with AsyncExitStack() as stack:
            proxy = self._proxy(task)
            if proxy:
                await stack.enter_async_context(proxy.serve(self.layout.proxy_port))
            tools = McpRelay(self.gateway)
            serving = tools.serve(self.layout.tools_port, self.layout.tools_path)
            url = await stack.enter_async_context(serving)
            peer = Peer(task, self.gateway, tools, mailbox)
            calls = asyncio.create_task(PeerServer(self.pipes, peer.respond).serve())
            stack.push_async_callback(cancel, calls)
            yield Served(proxy, url)

    def mcp_servers(
        self, task: Task, tools_url: str, offered: McpCapabilities | None
    ) -> list[Server]:
        """List the MCP servers for the agent: the profile's, and AgentRun's own tools."""
        given = task.profile.mcp_servers
        servers = acp_servers(given, lambda key: mcp_secret(self.layout, key))
        # A server of the profile with this name takes precedence over AgentRun's.
        if task.profile.agent_tools.allowed and NAME not in {one.name for one in given}:
            servers += own_server(NAME, tools_url, offered)
        return servers

    def _proxy(self, task: Task) -> ProviderProxy | None:
        if not self.settings.provider:
            return None
        key = provider_key(self.layout)
        backend = backend_of(self.settings.backend)
        headers = key_headers(backend.provider_api, key) if key else {}
        rules = Rules.of(task.profile, task.spec.model)
        capability, patience = self.layout.capability, backend.retry_seconds
        return ProviderProxy(self.settings.provider, headers, rules, capability, patience)
