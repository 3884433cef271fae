"""Which credentials a remote agent is shown."""

import pytest

from agentrun.api.remote import RemoteConfig
from agentrun.runner.a2a.config import ShownCredentials, card_urls, choose, read_config
from agentrun.runner.outcome import AttemptError

AGENT = "https://agent.example/team"
OWN = {"authorization": "Bearer own"}


def given(
    own: dict[str, str] | None = None,
    own_url: str = "",
    key: str = "",
    key_url: str | None = None,
    card: str | None = "",
) -> ShownCredentials:
    return ShownCredentials(own or {}, own_url, card, key, key_url)


@pytest.mark.parametrize(
    ("known", "shown"),
    [
        pytest.param(given(), {}, id="none"),
        pytest.param(given(OWN, AGENT), OWN, id="the-runs-own"),
        pytest.param(given(OWN, "https://AGENT.example:443/team/"), OWN, id="same-agent"),
        pytest.param(given(key="k", key_url=AGENT), {"authorization": "Bearer k"}, id="profiles"),
        pytest.param(given(OWN, AGENT, "k", AGENT), OWN, id="own-before-the-profiles"),
    ],
)
def test_agent_receives_its_own_credentials(known: ShownCredentials, shown: dict[str, str]) -> None:
    assert choose(known, RemoteConfig(agent_url=AGENT)) == shown


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(given(OWN, "https://other.example"), id="another-host"),
        pytest.param(given(OWN, "http://agent.example/team"), id="another-scheme"),
        pytest.param(given(OWN, "https://agent.example:8443"), id="another-port"),
        pytest.param(given(OWN, "https://agent.example/mallory"), id="another-on-the-host"),
        pytest.param(given(OWN, "https://agent.example/"), id="the-whole-host"),
        pytest.param(given(OWN, f"{AGENT}?agent=ada"), id="another-query"),
        pytest.param(given(OWN, f"{AGENT}/x/.."), id="dots"),
        pytest.param(given(OWN, AGENT, card="/cards/ada"), id="another-card"),
        pytest.param(given(key="k", key_url="https://agent.example/ada"), id="key-on-the-host"),
        pytest.param(given(OWN), id="nobody-in-particular"),
        pytest.param(given(key="k"), id="key-without-an-agent"),
        pytest.param(given(key="k", key_url="https://other.example"), id="key-of-another"),
    ],
)
def test_agent_does_not_receive_credentials_of_another(known: ShownCredentials) -> None:
    with pytest.raises(AttemptError):
        choose(known, RemoteConfig(agent_url=AGENT))


@pytest.mark.parametrize(
    ("card", "shown"),
    [
        (None, True), ("card.json", True), (f"{AGENT}/card.json", True), ("v1/../card", True),
        ("/mallory/card.json", False), ("../mallory/card.json", False),
        ("https://agent.example/team/..%2fmallory", False), ("https://evil.example/team/c", False),
        ("https://agent.example/team/./../mallory", False),
    ],
)  # fmt: skip
def test_the_profiles_key_is_not_sent_to_the_url_of_another_agents_card(
    card: str | None, shown: bool
) -> None:
    config = RemoteConfig(agent_url=AGENT, agent_card_path=card)
    known = given(key="k", key_url=AGENT)
    if shown:
        assert choose(known, config)
        return
    with pytest.raises(AttemptError, match="with card"):
        choose(known, config)


@pytest.mark.parametrize(
    ("url", "path", "urls"),
    [
        pytest.param(
            "https://a/x", None,
            ["https://a/x/.well-known/agent-card.json", "https://a/.well-known/agent-card.json"],
            id="below-it-then-at-its-host",
        ),
        pytest.param("https://a/", None, ["https://a/.well-known/agent-card.json"], id="host"),
        pytest.param("https://a/card.json", None, ["https://a/card.json"], id="the-card-itself"),
        pytest.param("https://a/x", "card", ["https://a/x/card"], id="relative"),
        pytest.param("https://a/x", "https://b/card", ["https://b/card"], id="elsewhere"),
    ],
)  # fmt: skip
def test_card_is_looked_up_at_the_configured_or_well_known_path(
    url: str, path: str | None, urls: list[str]
) -> None:
    assert card_urls(RemoteConfig(agent_url=url, agent_card_path=path)) == urls


def test_invalid_settings_are_named() -> None:
    with pytest.raises(
        AttemptError, match=r"^spec\.backendConfig\.blocking must be true or false\."
    ):
        read_config({"blocking": "maybe"}, AGENT)
