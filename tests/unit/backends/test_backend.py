"""What the agents of each backend get."""

import json
from typing import Any

from agentrun.backends.acp import ACP
from agentrun.backends.backend import PLACEHOLDER_KEY
from agentrun.backends.claude_code import CLAUDE_CODE
from agentrun.backends.codex import CODEX
from agentrun.backends.gemini import GEMINI
from agentrun.backends.opencode import OPENCODE


def test_opencode_has_the_runner_as_its_only_provider() -> None:
    config = json.loads(OPENCODE.agent_env("some/model", asks=False)["OPENCODE_CONFIG_CONTENT"])
    assert config["model"] == config["small_model"] == "agentrun/some/model"
    assert config["enabled_providers"] == ["agentrun"]
    provider = config["provider"]["agentrun"]
    assert provider["options"] == {"baseURL": "http://127.0.0.1:8790", "apiKey": PLACEHOLDER_KEY}
    assert list(provider["models"]) == ["some/model"]


def test_agent_with_permissions_asks_for_changing_tools() -> None:
    def permission(asks: bool) -> Any:
        env = OPENCODE.agent_env("m", asks)
        return json.loads(env["OPENCODE_CONFIG_CONTENT"])["permission"]

    assert permission(asks=False) == {"*": "allow"}
    assert permission(asks=True)["*"] == "ask"
    assert permission(asks=True)["read"] == permission(asks=True)["agentrun_*"] == "allow"
    assert next(iter(permission(asks=True))) == "*", "the last rule that fits is the one"
    assert GEMINI.agent_command(asks=False) == ["gemini", "--acp", "--yolo"]
    assert GEMINI.agent_command(asks=True) == ["gemini", "--acp"]


def test_the_model_is_set_where_the_agent_reads_it() -> None:
    assert GEMINI.agent_env("g1", asks=False)["GEMINI_MODEL"] == "g1"
    assert "GEMINI_MODEL" not in GEMINI.agent_env(None, asks=False)
    assert "OPENCODE_CONFIG_CONTENT" not in OPENCODE.agent_env(None, asks=False)


def test_session_modes_are_those_of_the_agents() -> None:
    assert CLAUDE_CODE.session_mode(asks=False) == "bypassPermissions"
    assert CLAUDE_CODE.session_mode(asks=True) == "default"
    assert CODEX.session_mode(asks=True) == "read-only"
    assert ACP.session_mode(asks=True) is None
