"""
The differences of the backends: files in the agent's home, and how the provider takes its key.

Standard library only, because the files must exist before the agent starts.
"""

import json
from collections.abc import Mapping
from typing import Any

from agentrun.api import pod_layout
from agentrun.runner.folders import Folder
from agentrun.runner.layout import Layout

REMOTE = "remote_a2a"
"""The backend of remote agents."""
ASK = "Ask"
"""The profile's permissionMode in which a person is asked."""
_BYPASS_MODES: Mapping[str, str] = {"claude_code": "bypassPermissions"}
"""The session mode in which an agent requests no permissions; the pod is the sandbox."""
_ASK_MODES: Mapping[str, str] = {"claude_code": "default", "codex": "read-only"}
"""The session mode in which an agent requests permission before it changes anything."""

RETRY_SECONDS: Mapping[str, float] = {"opencode": 10.0, "gemini": 10.0}
"""How long a failing provider is retried, for agents that have no setting for that."""

# git refuses a work tree whose folder belongs to another user, and the mount point of an emptyDir
# belongs to root.
_GITCONFIG = "[safe]\n\tdirectory = *\n"


def session_mode(backend: str, permission_mode: str) -> str | None:
    """Return the mode of the agent's session; None for the agent's default."""
    return (_ASK_MODES if permission_mode == ASK else _BYPASS_MODES).get(backend)


def session_meta(
    backend: str, permission_mode: str, schema: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """
    Return the ``_meta`` for opening a session, which only this kind of agent understands.

    For a ``schema`` of type object, Claude Code offers a tool for the answer, whose input
    satisfies the schema.
    """
    if backend != "claude_code":
        return {}
    options: dict[str, Any] = {}
    if permission_mode == ASK:
        options["allowedTools"] = [f"mcp__{pod_layout.OWN_SERVER}"]
    if schema is not None and schema.get("type") == "object":
        # It supports only its default dialect, but most keywords of other dialects as well.
        known = {key: value for key, value in schema.items() if key != "$schema"}
        options["outputFormat"] = {"type": "json_schema", "schema": known}
    return {"claudeCode": {"options": options}} if options else {}


def key_headers(backend: str, key: str) -> dict[str, str]:
    """Return the headers in which the provider of ``backend`` takes its key."""
    if backend == "claude_code":
        return {"x-api-key": key}
    if backend == "gemini":
        return {"x-goog-api-key": key}
    return {"authorization": f"Bearer {key}"}


def write_home(
    layout: Layout, backend: str, model: str | None, permission_mode: str | None = None
) -> None:
    """Write the files that the agent of ``backend`` reads from its home."""
    files = {".gitconfig": _GITCONFIG}
    if backend == "codex":
        files[".codex/config.toml"] = codex_config(layout, model, permission_mode)
    if backend == "gemini":
        files[pod_layout.GEMINI_SETTINGS] = json.dumps(GEMINI_SETTINGS, indent=2)
        files[".gemini/policies/agentrun.toml"] = _GEMINI_POLICY
    with Folder.at(layout.home, make=True) as home:
        for name, text in files.items():
            home.replace(name, text.encode())


GEMINI_SETTINGS = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
}
"""The Gemini CLI's settings: the provider is the runner's proxy, which its environment names."""


# The profile decides which of AgentRun's own tools exist; calls need no further permission.
_GEMINI_POLICY = f"""[[rule]]
mcpName = "{pod_layout.OWN_SERVER}"
toolName = "*"
decision = "allow"
priority = 500
"""


def write_identity(layout: Layout, name: str, email: str) -> None:
    """Write a git identity, so that the agent can commit without configuring git."""
    identity = f"[user]\n\tname = {json.dumps(name)}\n\temail = {json.dumps(email)}\n"
    with Folder.at(layout.home, make=True) as home:
        home.replace(".gitconfig", (_GITCONFIG + identity).encode())


def codex_config(layout: Layout, model: str | None, permission_mode: str | None = None) -> str:
    """Return Codex's config: the runner's proxy as the provider, and the approval policy."""
    policy, sandbox, own = "never", "danger-full-access", ""
    if permission_mode == ASK:
        policy, sandbox = "on-request", "read-only"
        own = _CODEX_OWN_TOOLS.format(port=layout.tools_port, path=layout.tools_path)
    # JSON strings are TOML strings.
    chosen = f"model = {json.dumps(model)}\n" if model else ""
    return f"""{chosen}model_provider = "agentrun"
approval_policy = "{policy}"
sandbox_mode = "{sandbox}"
check_for_update_on_startup = false

[model_providers.agentrun]
name = "AgentRun"
base_url = "{layout.provider_url}"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
request_max_retries = 2
stream_max_retries = 2

[analytics]
enabled = false

[features]
plugins = false

[projects.{json.dumps(str(layout.workspace))}]
trust_level = "trusted"
{own}"""


# The profile decides which of AgentRun's own tools exist; calls need no further permission. The
# server's entry has to be complete here, though the session names the server as well.
_CODEX_OWN_TOOLS = f"""
[mcp_servers.{pod_layout.OWN_SERVER}]
url = "http://127.0.0.1:{{port}}{{path}}"
default_tools_approval_mode = "approve"
"""
