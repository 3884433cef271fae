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
_READERS = ("cat", "grep", "head", "ls", "nl", "pwd", "stat", "tail", "wc")
"""Programs that only read, whatever their arguments: none writes a file or starts a program."""


def _home_files(context: HomeContext) -> dict[str, str]:
    """Return the config: the runner's proxy as the provider, and the approval policy."""
    policy, sandbox, own, advice = "never", "danger-full-access", "", ""
    if context.asks:
        policy, sandbox = "on-request", "read-only"
        own = _OWN_TOOLS.format(url=context.tools_url)
        advice = f"developer_instructions = {json.dumps(_ADVICE)}\n"
    # JSON strings are TOML strings.
    chosen = f"model = {json.dumps(context.model)}\n" if context.model else ""
    text = f"""{chosen}model_provider = "agentrun"
approval_policy = "{policy}"
sandbox_mode = "{sandbox}"
check_for_update_on_startup = false
{advice}
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
    files = {".codex/config.toml": text}
    return {**files, _RULES_PATH: _RULES} if context.asks else files


# Codex requests permission only for what its sandbox would not allow, so the sandbox stays, though
# it cannot start in a pod, which has no right to make namespaces: without it, codex asks nobody.
_ADVICE = (
    "The sandbox for commands cannot start on this machine: a command that runs in it fails with"
    f" an error of bwrap. Only {', '.join(_READERS)} with plain arguments, without redirection,"
    " run without it. Run every other command with sandbox_permissions set to require_escalated"
    " from the beginning, and with a justification: a person is asked for permission."
)
_RULES_PATH = ".codex/rules/agentrun.rules"
# A command that a rule allows runs without the sandbox.
_RULES = "".join(
    f'prefix_rule(pattern=[{json.dumps(name)}], decision="allow")\n' for name in _READERS
)


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
        # Otherwise it leaves out the servers of the session that its configuration, or that of the
        # repository, has as well, and reports that they do not start.
        "DISABLE_MCP_CONFIG_FILTERING": "true",
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
