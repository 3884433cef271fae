"""Claude Code, with the ACP adapter claude-agent-acp."""

import re
from typing import Any

from agentrun.api import pod_layout
from agentrun.backends.backend import PLACEHOLDER_KEY, Backend, ProviderApi, Schema
from agentrun.backends.extensions import (
    Extensions,
    Fields,
    McpCall,
    ToolCall,
    ToolReport,
    fields,
)

_META = "claudeCode"
"""The key of the adapter's own fields in a ``_meta``."""
_MCP_NAME = re.compile(r"mcp__(.+?)__(.+)", re.DOTALL)


def _session_meta(asks: bool, schema: Schema | None) -> dict[str, Any]:
    """
    Return the options of the session.

    For a ``schema`` of type object, Claude Code offers a tool for the answer, whose input
    satisfies the schema.
    """
    # The pod is the sandbox. One that the repository's settings request could not start in it.
    options: dict[str, Any] = {"sandbox": {"enabled": False}}
    if asks:
        options["allowedTools"] = [f"mcp__{pod_layout.OWN_SERVER}"]
    if schema is not None and schema.get("type") == "object":
        # It supports only its default dialect, but most keywords of other dialects as well.
        known = {key: value for key, value in schema.items() if key != "$schema"}
        options["outputFormat"] = {"type": "json_schema", "schema": known}
    return {_META: {"options": options}}


def _tool_report(meta: Fields) -> ToolReport | None:
    if _META not in meta:
        return None
    own = fields(meta[_META])
    return ToolReport(str(own.get("toolName") or ""), response=fields(own.get("toolResponse")))


def _mcp_call(call: ToolCall) -> McpCall | None:
    """Read a call: the server is in the tool's name."""
    match = _MCP_NAME.fullmatch(call.name)
    return McpCall(match[1], call.name, call.input) if match else None


def _changed_files(response: Fields) -> dict[str, str]:
    edited = fields(response.get("bashEditDiff"))
    created = {
        str(file.get("filePath"))
        for file in edited.get("files") or []
        if isinstance(file, dict) and file.get("created")
    }
    paths = [str(path) for path in edited.get("changedFiles") or []]
    return {path: "add" if path in created else "update" for path in paths}


CLAUDE_CODE = Backend(
    "claude_code",
    command=("claude-agent-acp",),
    env={
        "ANTHROPIC_BASE_URL": pod_layout.PROXY_URL,
        "ANTHROPIC_API_KEY": PLACEHOLDER_KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        # With its default of ten retries, a run with an invalid key fails after three minutes.
        "CLAUDE_CODE_MAX_RETRIES": "2",
        "CLAUDE_CODE_TMPDIR": "/tmp",
    },
    model_variable="ANTHROPIC_MODEL",
    aside_variables=("ANTHROPIC_SMALL_FAST_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL"),
    provider_url="https://api.anthropic.com",
    provider_api=ProviderApi.MESSAGES,
    instructions_path=".claude/CLAUDE.md",
    conversation_files=(".claude/projects", ".claude/todos", ".claude.json"),
    bypass_mode="bypassPermissions",
    ask_mode="default",
    session_meta=_session_meta,
    extensions=Extensions(
        answer_tool="StructuredOutput",
        tool_report=_tool_report,
        mcp_call=_mcp_call,
        # It is written before the output.
        exit_code_text=r"^\s*(?:Error: )?Exit code:? (\d+)",
        quiet_tool="Bash",
        changed_files=_changed_files,
    ),
)
