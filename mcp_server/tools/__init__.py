"""The MCP tools, grouped by subject."""

from collections.abc import Callable

from mcp.server.mcpserver import MCPServer

from mcp_server.tools.agents import (
    add_fetch_agent_messages,
    add_list_agents,
    add_send_agent_message,
)
from mcp_server.tools.artifacts import add_get_event_artifact
from mcp_server.tools.context import ToolContext
from mcp_server.tools.continuing import add_continue_run
from mcp_server.tools.events import add_poll_events
from mcp_server.tools.runs import add_cancel_run, add_get_run, add_list_runs, add_spawn_run

ALL_TOOLS: tuple[Callable[[MCPServer, ToolContext], None], ...] = (
    add_spawn_run,
    add_get_run,
    add_poll_events,
    add_get_event_artifact,
    add_continue_run,
    add_cancel_run,
    add_list_runs,
    add_list_agents,
    add_send_agent_message,
    add_fetch_agent_messages,
)
"""The functions that register the tools, in the order in which clients list them."""
