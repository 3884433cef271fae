"""
What the known agents need: their ACP command, their environment, their provider.

The agent never holds the provider's key: it speaks to the runner's proxy on the pod's loopback,
with a placeholder in the key's place.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentrun.api import pod_layout

REMOTE = "remote_a2a"
"""The backend whose agent runs elsewhere: its pods have no agent container."""

PLACEHOLDER_KEY = "held-by-the-runner"
"""What agents get where they insist on an API key."""

_PROXY = pod_layout.PROXY_URL


@dataclass(frozen=True)
class BackendDefaults:
    """What a backend's agent gets unless its profile says otherwise."""

    command: Sequence[str] = ()
    bypass: Sequence[str] = ()
    """What the command gets to work without asking, where a session's mode does not say it."""
    env: Mapping[str, str] = field(default_factory=dict)
    ask_env: Mapping[str, str] = field(default_factory=dict)
    """What of it is different for an agent that asks."""
    model_variable: str | None = None
    """The variable in which the agent looks for the model's name."""
    aside_variables: Sequence[str] = ()
    """Where it looks for the model that it asks aside, for a title say."""
    config_variable: str | None = None
    """The variable that holds its whole configuration, which has to name a model."""
    provider: str | None = None
    """The provider's API."""


_DEFAULTS = {
    "codex": BackendDefaults(
        command=("codex-acp",),
        env={
            # The pod is the sandbox; codex asks for nothing within it.
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
            # Ten retries, its default, keep a run with a bad key busy for three minutes.
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
        # It would take the session's mode too, and say so as if it were its answer.
        bypass=("--yolo",),
        env={
            # Its launcher, which starts it once more, ignores signals.
            "GEMINI_CLI_NO_RELAUNCH": "true",
            # In a folder that is not trusted, it asks for everything. The pod is the sandbox.
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            # These stand above those of the repository.
            "GEMINI_CLI_SYSTEM_SETTINGS_PATH": f"{pod_layout.HOME}/{pod_layout.GEMINI_SETTINGS}",
            "GEMINI_API_KEY": PLACEHOLDER_KEY,
            "GOOGLE_GEMINI_BASE_URL": _PROXY,
        },
        model_variable="GEMINI_MODEL",
        provider="https://generativelanguage.googleapis.com",
    ),
}


def defaults_of(backend: str) -> BackendDefaults:
    """Return what the agents of ``backend`` get; nothing for those that are not known."""
    return _DEFAULTS.get(backend, BackendDefaults())


def agent_command(backend: str, asks: bool) -> list[str]:
    """Return the ACP command of ``backend``: of an agent that asks, or of one that does not."""
    defaults = defaults_of(backend)
    return [*defaults.command, *(() if asks else defaults.bypass)]


def agent_env(
    backend: str, model: str | None, asks: bool, only_that_model: bool = False
) -> dict[str, str]:
    """
    Return the environment of an agent of ``backend``: one that asks, or one that does not.

    With ``only_that_model``, it asks the same one aside: its own choice may not be allowed.
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
    """Build opencode's config. In the environment, it stands above that of the repository."""
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


# Reading changes nothing; opencode's own notes of what is to do neither. Which of AgentRun's tools
# there are, the profile says. The last rule that fits is the one.
_UNASKED = ("read", "glob", "grep", "list", "todowrite", f"{pod_layout.OWN_SERVER}_*")
_ASKS = {"*": "ask"} | dict.fromkeys(_UNASKED, "allow")
