"""What the agents of each backend get."""

import json
import tomllib
from typing import Any

from agentrun.backends.acp import ACP
from agentrun.backends.backend import PLACEHOLDER_KEY, HomeContext
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


def codex_files(asks: bool) -> dict[str, str]:
    context = HomeContext(
        "http://127.0.0.1:8790", "http://127.0.0.1:8791/mcp", "/workspace", 'the "model"', asks
    )
    return dict(CODEX.home_files(context))


def test_codex_without_permissions_has_no_sandbox_that_a_pod_could_not_start() -> None:
    files = codex_files(asks=False)
    config = tomllib.loads(files[".codex/config.toml"])
    assert (config["approval_policy"], config["sandbox_mode"]) == ("never", "danger-full-access")
    assert config["model"] == 'the "model"'
    assert "developer_instructions" not in config
    assert list(files) == [".codex/config.toml"]


def test_codex_with_permissions_knows_that_its_sandbox_does_not_start() -> None:
    files = codex_files(asks=True)
    config = tomllib.loads(files[".codex/config.toml"])
    # Without a sandbox, codex would request no permission at all.
    assert (config["approval_policy"], config["sandbox_mode"]) == ("on-request", "read-only")
    assert "require_escalated" in config["developer_instructions"]
    assert config["mcp_servers"]["agentrun"]["default_tools_approval_mode"] == "approve"
    rules = files[".codex/rules/agentrun.rules"].splitlines()
    assert 'prefix_rule(pattern=["ls"], decision="allow")' in rules
    # These can write a file or start a program by their arguments.
    for name in ("find", "rg", "sed", "sort", "git", "bash", "env", "xargs", "awk", "tee"):
        assert not any(f'"{name}"' in rule for rule in rules)


def test_servers_of_the_session_take_precedence_over_those_in_the_config_of_codex() -> None:
    for asks in (True, False):
        assert CODEX.agent_env(None, asks)["DISABLE_MCP_CONFIG_FILTERING"] == "true"


def test_gemini_ignores_a_sandbox_that_the_repository_requests() -> None:
    context = HomeContext("http://p", "http://t", "/workspace", None, asks=False)
    settings = json.loads(GEMINI.home_files(context)[".gemini/agentrun.json"])
    assert settings["tools"] == {"sandbox": False}


def test_claude_code_ignores_a_sandbox_that_the_repository_requests() -> None:
    for asks in (True, False):
        options = CLAUDE_CODE.session_meta(asks, None)["claudeCode"]["options"]
        assert options["sandbox"] == {"enabled": False}
