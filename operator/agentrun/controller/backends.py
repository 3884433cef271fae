"""
Defaults of the known backends: the ACP command, the environment and the model provider.

The agent never has the provider's API key: it connects to the runner's proxy on the pod's loopback
interface and uses a placeholder as the key.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentrun.api import pod_layout

REMOTE = "remote_a2a"
"""The backend of remote A2A agents: its pods have no agent container."""

PLACEHOLDER_KEY = "held-by-the-runner"
"""The placeholder for agents that require an API key."""

_PROXY = pod_layout.PROXY_URL


@dataclass(frozen=True)
class BackendDefaults:
    """The defaults of a backend, which a profile may override."""

    command: Sequence[str] = ()
    bypass: Sequence[str] = ()
    """Arguments to work without permission requests, where a session mode does not set that."""
    env: Mapping[str, str] = field(default_factory=dict)
    ask_env: Mapping[str, str] = field(default_factory=dict)
    """Overrides of ``env`` for an agent that asks for permission."""
    model_variable: str | None = None
    """The environment variable that names the agent's model."""
    aside_variables: Sequence[str] = ()
    """The variables that name the model for auxiliary requests, such as generating a title."""
    config_variable: str | None = None
    """The variable with the agent's complete configuration, which has to name a model."""
    provider: str | None = None
    """The base URL of the provider's API."""


_DEFAULTS = {
    "codex": BackendDefaults(
        command=("codex-acp",),
        env={
            # The pod is the sandbox; codex requests no permission within it.
            "INITIAL_AGENT_MODE": "agent-full-access",
            "OPENAI_API_KEY": PLACEHOLDER_KEY,
        },
        ask_env={"INITIAL_AGENT_MODE": "read-only"},
        provider="https://api.openai.com/v1",
    ),
    "claude_code": BackendDefaults(
        command=("claude-agent-acp",),
        env={
            "ANTHROPIC_BASE_URL": _PROXY,
            "ANTHROPIC_API_KEY": PLACEHOLDER_KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            # With its default of ten retries, a run with an invalid key fails after three minutes.
            "CLAUDE_CODE_MAX_RETRIES": "2",
            "CLAUDE_CODE_TMPDIR": "/tmp",
        },
        model_variable="ANTHROPIC_MODEL",
        aside_variables=("ANTHROPIC_SMALL_FAST_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL"),
        provider="https://api.anthropic.com",
    ),
    "opencode": BackendDefaults(
        command=("opencode", "acp"),
        env={
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
        },
        config_variable="OPENCODE_CONFIG_CONTENT",
        provider="https://api.openai.com/v1",
    ),
    "gemini": BackendDefaults(
        command=("gemini", "--acp"),
        # A session mode works as well, but the agent reports it as if it were its answer.
        bypass=("--yolo",),
        env={
            # Its launcher, which starts a second process, ignores signals.
            "GEMINI_CLI_NO_RELAUNCH": "true",
            # In an untrusted folder, it asks permission for everything. The pod is the sandbox.
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            # These settings take precedence over those of the repository.
            "GEMINI_CLI_SYSTEM_SETTINGS_PATH": f"{pod_layout.HOME}/{pod_layout.GEMINI_SETTINGS}",
            "GEMINI_API_KEY": PLACEHOLDER_KEY,
            "GOOGLE_GEMINI_BASE_URL": _PROXY,
        },
        model_variable="GEMINI_MODEL",
        provider="https://generativelanguage.googleapis.com",
    ),
}


def defaults_of(backend: str) -> BackendDefaults:
    """Return the defaults of ``backend``; empty ones if it is not known."""
    return _DEFAULTS.get(backend, BackendDefaults())


def agent_command(backend: str, asks: bool) -> list[str]:
    """Return the ACP command of ``backend``; ``asks`` means that it asks for permission."""
    defaults = defaults_of(backend)
    return [*defaults.command, *(() if asks else defaults.bypass)]


def agent_env(
    backend: str, model: str | None, asks: bool, only_that_model: bool = False
) -> dict[str, str]:
    """
    Return the environment of an agent of ``backend``; ``asks`` means that it asks for permission.

    With ``only_that_model``, auxiliary requests use ``model`` as well: the agent's own choice may
    not be allowed.
    """
    defaults = defaults_of(backend)
    env = {**defaults.env, **(defaults.ask_env if asks else {})}
    if model and defaults.model_variable:
        env[defaults.model_variable] = model
    if model and only_that_model:
        env |= dict.fromkeys(defaults.aside_variables, model)
    if model and defaults.config_variable:
        env[defaults.config_variable] = json.dumps(_opencode_config(model, asks))
    return env


def _opencode_config(model: str, asks: bool) -> dict[str, Any]:
    """Build opencode's configuration, which takes precedence over that of the repository."""
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "AgentRun",
        "options": {"baseURL": _PROXY, "apiKey": PLACEHOLDER_KEY},
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
