"""What a run may say of its remote agent."""

from typing import Any

import pytest

from agentrun.api.remote import RemoteConfig, read_remote_config

GIVEN = {"agent_url": "https://agent.example"}


def test_valid_settings_are_read() -> None:
    more = {"history_length": 3, "blocking": True, "accepted_output_modes": ["text/plain"]}
    assert read_remote_config({**GIVEN, **more, "auth_token": "x"}).model_dump() == {
        **GIVEN, **more, "agent_card_path": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("agent_url", 5),
        ("agent_url", "agent.example"),
        ("agent_url", None),
        ("agent_card_path", ["card.json"]),
        ("history_length", "many"),
        ("history_length", -1),
        ("blocking", "maybe"),
        ("accepted_output_modes", "text/plain"),
        ("accepted_output_modes", [1]),
    ],
)
def test_invalid_setting_is_named_with_the_expected_value(name: str, value: Any) -> None:
    expected = RemoteConfig.model_fields[name].description
    assert expected
    with pytest.raises(ValueError, match=f"^{name} must be {expected}$"):
        read_remote_config({**GIVEN, name: value})
