"""
What the known agents need: their ACP command, their environment, their provider.

The agent never holds the provider's key: it speaks to the runner's proxy on the pod's loopback,
with a placeholder in the key's place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentrun.api import pod_layout

REMOTE = "remote_a2a"
"""The backend whose agent runs elsewhere: its pods have no agent container."""

PLACEHOLDER_KEY = "held-by-the-runner"
"""What agents get where they insist on an API key."""

_PROXY = f"http://127.0.0.1:{pod_layout.PROXY_PORT}"


@dataclass(frozen=True)
class BackendDefaults:
    """What a backend's agent gets unless its profile says otherwise."""

    command: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ask_env: Mapping[str, str] = field(default_factory=dict)
    """What of it is different where the profile's permissionMode is Ask."""
    model_variable: str | None = None
    """The variable in which the agent looks for the model's name."""
    provider: str | None = None
    """The provider's API."""

    def env_for(self, permission_mode: str) -> Mapping[str, str]:
        """Return the environment in a permission mode."""
        return {**self.env, **(self.ask_env if permission_mode == "Ask" else {})}


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
        provider="https://api.anthropic.com",
    ),
    "opencode": BackendDefaults(
        command=("opencode", "acp"),
        env={"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"},
    ),
    "gemini": BackendDefaults(
        command=("gemini", "--acp"),
        env={"GEMINI_CLI_NO_RELAUNCH": "true"},
    ),
}


def defaults_of(backend: str) -> BackendDefaults:
    """Return what the agents of ``backend`` get; nothing for those that are not known."""
    return _DEFAULTS.get(backend, BackendDefaults())
