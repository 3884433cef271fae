"""What is written to the agent's home, whatever the agent has put there."""

import json
import os
import tomllib
from pathlib import Path

import pytest

from agentrun.backends.gemini import GEMINI
from agentrun.runner.home import write_home, write_identity
from agentrun.runner.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(root=tmp_path)
    write_home(made, "codex", "some-model")
    return made


def test_gemini_finds_its_settings_through_its_environment(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)
    write_home(layout, "gemini", None)
    named = GEMINI.agent_env(None, asks=False)["GEMINI_CLI_SYSTEM_SETTINGS_PATH"]
    settings = json.loads(layout.at(named).read_text())
    assert settings["security"]["auth"]["selectedType"] == "gemini-api-key"
    assert settings["privacy"]["usageStatisticsEnabled"] is False
    [policy] = (layout.home / ".gemini/policies").glob("*.toml")
    [rule] = tomllib.loads(policy.read_text())["rule"]
    assert (rule["mcpName"], rule["decision"]) == ("agentrun", "allow")


def test_identity_replaces_the_first_config(layout: Layout) -> None:
    write_identity(layout, "A B", "a@b")
    config = layout.home / ".gitconfig"
    assert 'name = "A B"' in config.read_text()
    assert config.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in layout.home.iterdir()} == {".gitconfig", ".codex"}


def test_identity_is_not_written_through_a_link(layout: Layout, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("as it was")
    config = layout.home / ".gitconfig"
    config.unlink()
    config.symlink_to(target)
    write_identity(layout, "A B", "a@b")
    assert target.read_text() == "as it was"
    assert not config.is_symlink()


@pytest.mark.timeout(10)
def test_identity_does_not_wait_for_a_reader_of_a_fifo(layout: Layout) -> None:
    config = layout.home / ".gitconfig"
    config.unlink()
    os.mkfifo(config)
    write_identity(layout, "A B", "a@b")
    assert config.is_file()


def test_folder_in_place_of_the_file_is_an_error_that_leaves_nothing(layout: Layout) -> None:
    config = layout.home / ".gitconfig"
    config.unlink()
    config.mkdir()
    with pytest.raises(IsADirectoryError):
        write_identity(layout, "A B", "a@b")
    assert {path.name for path in layout.home.iterdir()} == {".gitconfig", ".codex"}


@pytest.mark.parametrize(
    ("mode", "policy"), [(None, "never"), ("Bypass", "never"), ("Ask", "on-request")]
)
def test_codex_gets_its_approval_policy(tmp_path: Path, mode: str | None, policy: str) -> None:
    made = Layout(root=tmp_path)
    write_home(made, "codex", None, mode)
    config = tomllib.loads((made.home / ".codex/config.toml").read_text())
    assert config["approval_policy"] == policy
    # What AgentRun offers itself, it has the profile's leave for.
    own = config.get("mcp_servers", {}).get("agentrun", {})
    assert own.get("default_tools_approval_mode") == ("approve" if mode == "Ask" else None)
