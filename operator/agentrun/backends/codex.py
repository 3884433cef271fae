"""Codex, with the ACP adapter codex-acp."""

import json

from agentrun.api import pod_layout
from agentrun.backends.backend import PLACEHOLDER_KEY, Backend, HomeContext, ProviderApi
from agentrun.backends.extensions import (
    Extensions,
    Fields,
    McpCall,
    ToolCall,
    ToolReport,
    fields,
)

_NAME = 200


def _home_files(context: HomeContext) -> dict[str, str]:
    """Return the config: the runner's proxy as the provider, and the approval policy."""
    policy, sandbox, own = "never", "danger-full-access", ""
    if context.asks:
        policy, sandbox = "on-request", "read-only"
        own = _OWN_TOOLS.format(url=context.tools_url)
    # JSON strings are TOML strings.
    chosen = f"model = {json.dumps(context.model)}\n" if context.model else ""
    text = f"""{chosen}model_provider = "agentrun"
approval_policy = "{policy}"
sandbox_mode = "{sandbox}"
check_for_update_on_startup = false

[model_providers.agentrun]
name = "AgentRun"
base_url = "{context.provider_url}"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
request_max_retries = 2
stream_max_retries = 2

[analytics]
enabled = false

[features]
plugins = false

[projects.{json.dumps(context.workspace)}]
trust_level = "trusted"
{own}"""
    return {".codex/config.toml": text}


# The profile decides which of AgentRun's own tools exist; calls need no further permission. The
# server's entry has to be complete here, though the session names the server as well.
_OWN_TOOLS = f"""
[mcp_servers.{pod_layout.OWN_SERVER}]
url = "{{url}}"
default_tools_approval_mode = "approve"
"""


def _tool_report(meta: Fields) -> ToolReport | None:
    return ToolReport(is_mcp=True) if meta.get("is_mcp_tool_call") is True else None


def _mcp_call(call: ToolCall) -> McpCall | None:
    """Read a marked call: the adapter sends server, tool and arguments as the input."""
    if not call.is_mcp:
        return None
    server, tool = (str(call.input.get(key) or "")[:_NAME] for key in ("server", "tool"))
    return McpCall(server, tool or call.title, fields(call.input.get("arguments")))


CODEX = Backend(
    "codex",
    command=("codex-acp",),
    env={
        # The pod is the sandbox; codex requests no permission within it.
        "INITIAL_AGENT_MODE": "agent-full-access",
        "OPENAI_API_KEY": PLACEHOLDER_KEY,
    },
    ask_env={"INITIAL_AGENT_MODE": "read-only"},
    provider_url="https://api.openai.com/v1",
    provider_api=ProviderApi.RESPONSES,
    answers_with_errors=True,
    home_files=_home_files,
    instructions_path=".codex/AGENTS.md",
    conversation_files=(
        ".codex/sessions",
        ".codex/*.sqlite",
        ".codex/*.sqlite-wal",
        ".codex/session_index.jsonl",
    ),
    ask_mode="read-only",
    has_threads=True,
    extensions=Extensions(tool_report=_tool_report, mcp_call=_mcp_call),
)
