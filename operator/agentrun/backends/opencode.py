"""opencode, which implements ACP itself. Its MCP calls look like calls of its own tools."""

from typing import Any

from agentrun.api import pod_layout
from agentrun.backends.backend import PLACEHOLDER_KEY, Backend, ProviderApi
from agentrun.backends.extensions import Extensions, Fields, fields


def _config(model: str, asks: bool) -> dict[str, Any]:
    """Build the configuration, which takes precedence over that of the repository."""
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "AgentRun",
        "options": {"baseURL": pod_layout.PROXY_URL, "apiKey": PLACEHOLDER_KEY},
        "models": {model: {"name": model}},
    }
    return {
        "model": f"agentrun/{model}",
        "small_model": f"agentrun/{model}",
        "enabled_providers": ["agentrun"],
        "provider": {"agentrun": provider},
        "permission": _ASKS if asks else {"*": "allow"},
        "share": "disabled",
        "autoupdate": False,
    }


# Reading changes nothing, and neither does opencode's todo list. The profile decides which of
# AgentRun's tools exist. The last matching rule applies.
_UNASKED = ("read", "glob", "grep", "list", "todowrite", f"{pod_layout.OWN_SERVER}_*")
_ASKS = {"*": "ask"} | dict.fromkeys(_UNASKED, "allow")


def _exit_code(output: Fields) -> object:
    return fields(output.get("metadata")).get("exit")


OPENCODE = Backend(
    "opencode",
    command=("opencode", "acp"),
    env={
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
    },
    config_variable="OPENCODE_CONFIG_CONTENT",
    config=_config,
    provider_url="https://api.openai.com/v1",
    provider_api=ProviderApi.CHAT_COMPLETIONS,
    retry_seconds=10.0,
    instructions_path=".config/opencode/AGENTS.md",
    conversation_files=(".local/share/opencode", ".local/state/opencode"),
    extensions=Extensions(exit_code=_exit_code),
)
