"""What the agents of each backend get, and which runs cannot have one."""

import json
from typing import Any

import pytest

from agentrun.controller.backends import PLACEHOLDER_KEY, agent_command, agent_env
from agentrun.controller.validation import validation_failure
from tests.unit.controller.samples import a_profile, a_run, seen


def test_opencode_knows_one_provider_which_is_the_runner() -> None:
    config = json.loads(agent_env("opencode", "some/model", asks=False)["OPENCODE_CONFIG_CONTENT"])
    assert config["model"] == config["small_model"] == "agentrun/some/model"
    assert config["enabled_providers"] == ["agentrun"]
    provider = config["provider"]["agentrun"]
    assert provider["options"] == {"baseURL": "http://127.0.0.1:8790", "apiKey": PLACEHOLDER_KEY}
    assert list(provider["models"]) == ["some/model"]


def test_agent_that_asks_asks_for_what_changes_something() -> None:
    def permission(asks: bool) -> Any:
        env = agent_env("opencode", "m", asks)
        return json.loads(env["OPENCODE_CONFIG_CONTENT"])["permission"]

    assert permission(asks=False) == {"*": "allow"}
    assert permission(asks=True)["*"] == "ask"
    assert permission(asks=True)["read"] == permission(asks=True)["agentrun_*"] == "allow"
    assert next(iter(permission(asks=True))) == "*", "the last rule that fits is the one"
    assert agent_command("gemini", asks=False) == ["gemini", "--acp", "--yolo"]
    assert agent_command("gemini", asks=True) == ["gemini", "--acp"]


def test_the_model_is_named_where_the_agent_looks_for_it() -> None:
    assert agent_env("gemini", "g1", asks=False)["GEMINI_MODEL"] == "g1"
    assert "GEMINI_MODEL" not in agent_env("gemini", None, asks=False)
    assert "OPENCODE_CONFIG_CONTENT" not in agent_env("opencode", None, asks=False)


@pytest.mark.parametrize(
    ("run", "profile", "is_refused"),
    [
        pytest.param({}, {}, True, id="no-model"),
        pytest.param({"model": "m"}, {}, False, id="the-runs"),
        pytest.param({}, {"models": {"default": "m"}}, False, id="the-profiles"),
        pytest.param(
            {},
            {"env": [{"name": "OPENCODE_CONFIG_CONTENT", "value": "{}"}]},
            False,
            id="in-a-config-of-its-own",
        ),
    ],
)
def test_run_of_opencode_needs_a_model(
    run: dict[str, Any], profile: dict[str, Any], is_refused: bool
) -> None:
    made = a_run(spec={"backend": "opencode", "profile": "codex", **run})
    failure = validation_failure(
        made, seen(profile=a_profile(backend="opencode", **profile), pod=None)
    )
    refusal = failure.message if failure else ""
    assert ("models.default of AgentProfile codex" in refusal) == is_refused
