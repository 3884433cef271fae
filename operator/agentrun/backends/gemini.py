"""The Gemini CLI, which implements ACP itself."""

import fnmatch
import json
import re
from collections.abc import Iterator

from agentrun.api import pod_layout
from agentrun.backends.backend import (
    PLACEHOLDER_KEY,
    Backend,
    Home,
    HomeContext,
    ProviderApi,
)
from agentrun.backends.extensions import Extensions, Fields, McpCall, ToolCall, fields

_SETTINGS_PATH = ".gemini/agentrun.json"
_SETTINGS = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    # The pod is the sandbox. One that the repository's settings request could not start in it.
    "tools": {"sandbox": False},
}
# The profile decides which of AgentRun's own tools exist; calls need no further permission.
_POLICY = f"""[[rule]]
mcpName = "{pod_layout.OWN_SERVER}"
toolName = "*"
decision = "allow"
priority = 500
"""
_LONG_AGO = "2000-01-01T00-00"
_CHATS = ".gemini/tmp"
_MCP_TITLE = re.compile(r"([\w.-]{1,200}) \(([\w.-]{1,200}) MCP Server\)")


def _home_files(context: HomeContext) -> dict[str, str]:
    return {
        _SETTINGS_PATH: json.dumps(_SETTINGS, indent=2),
        ".gemini/policies/agentrun.toml": _POLICY,
    }


def _keep_conversation(home: Home, session_id: str) -> None:
    """
    Retain one file of the session, renamed to a past minute, and remove all others.

    The CLI writes a conversation into a file named after the minute and the session. When it loads
    one, it first creates another such file: in the same minute, it overwrites the conversation,
    which is then lost; later, the new file is beside it, and the next load uses the empty one.
    """
    short = session_id[:8]
    found = list(_conversations(home))
    of_session = [one for one in found if one[1].endswith(f"-{short}.jsonl")]
    if not of_session:
        return  # The agent itself reports that the session is missing.
    kept = max(of_session, key=lambda one: home.status("/".join(one)).st_size)
    for one in found:
        if one != kept:
            home.remove("/".join(one))
    with home.folder(kept[0]) as folder:
        folder.rename(kept[1], f"session-{_LONG_AGO}-{short}.jsonl")


def _conversations(home: Home) -> Iterator[tuple[str, str]]:
    """
    Yield each conversation's folder and name; folders that are links of the agent are skipped.
    """
    try:
        with home.folder(_CHATS) as folder:
            projects = folder.names()
    except OSError:
        return
    for project in projects:
        path = f"{_CHATS}/{project}/chats"
        try:
            with home.folder(path) as chats:
                names = fnmatch.filter(chats.names(), "session-*.jsonl")
        except OSError:
            continue
        yield from ((path, name) for name in names)


def _mcp_call(call: ToolCall) -> McpCall | None:
    """Read a call: both names are in the title, and the arguments are not reported."""
    match = None if call.name else _MCP_TITLE.fullmatch(call.title)
    return McpCall(match[2], match[1], call.input or None) if match else None


def _token_counts(meta: Fields) -> Fields:
    return fields(fields(meta.get("quota")).get("token_count"))


GEMINI = Backend(
    "gemini",
    command=("gemini", "--acp"),
    # A session mode works as well, but the agent reports it as if it were its answer.
    bypass=("--yolo",),
    env={
        # Its launcher, which starts a second process, ignores signals.
        "GEMINI_CLI_NO_RELAUNCH": "true",
        # In an untrusted folder, it asks permission for everything. The pod is the sandbox.
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        # These settings take precedence over those of the repository.
        "GEMINI_CLI_SYSTEM_SETTINGS_PATH": f"{pod_layout.HOME}/{_SETTINGS_PATH}",
        "GEMINI_API_KEY": PLACEHOLDER_KEY,
        "GOOGLE_GEMINI_BASE_URL": pod_layout.PROXY_URL,
    },
    model_variable="GEMINI_MODEL",
    provider_url="https://generativelanguage.googleapis.com",
    provider_api=ProviderApi.GENERATE_CONTENT,
    retry_seconds=10.0,
    home_files=_home_files,
    instructions_path=".gemini/GEMINI.md",
    conversation_files=(".gemini/tmp", ".gemini/history", ".gemini/projects.json"),
    after_restore=_keep_conversation,
    extensions=Extensions(
        command_signs="/$",
        mcp_call=_mcp_call,
        # It is written after the output.
        exit_code_text=r"\bCommand exited with code: (\d+)\s*\Z",
        token_counts=_token_counts,
    ),
)
