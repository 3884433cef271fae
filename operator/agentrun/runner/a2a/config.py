"""
The remote agent of a run: its settings, the URLs of its card, and the credentials for it. Pure.

The credentials are the run's own, else the profile's key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from agentrun.api.remote import RemoteConfig, read_remote_config
from agentrun.api.v1alpha1 import Reason
from agentrun.runner.outcome import AttemptError

_WELL_KNOWN = ".well-known/agent-card.json"


def read_config(given: dict[str, Any] | None, default_url: str | None) -> RemoteConfig:
    """
    Read the run's settings; the profile's URL is the default for ``agent_url``.

    Raises AttemptError if they are invalid.
    """
    values = {**({"agent_url": default_url} if default_url else {}), **(given or {})}
    try:
        return read_remote_config(values)
    except ValueError as error:
        message = (
            f"spec.backendConfig.{error}. Create the run again with the URL of an A2A agent as"
            " backendConfig.agent_url."
        )
        raise AttemptError(Reason.PROFILE_INVALID, message) from error


def card_urls(config: RemoteConfig) -> list[str]:
    """List the URLs where the card may be; the first that exists is used."""
    base = config.agent_url.rstrip("/") + "/"
    if config.agent_card_path:
        return [urljoin(base, config.agent_card_path)]
    if urlsplit(config.agent_url).path.endswith(".json"):
        return [config.agent_url]
    return list(dict.fromkeys([urljoin(base, _WELL_KNOWN), urljoin(base, f"/{_WELL_KNOWN}")]))


def is_one_agent(url: str, other: str) -> bool:
    """Whether two URLs name the same agent: a host may have several, with different owners."""
    return _whole(url) == _whole(other)


def is_cards_owner(config: RemoteConfig) -> bool:
    """Whether the card belongs to the agent itself, and not to another one that the run names."""
    if config.agent_card_path is None:
        return True
    [card] = card_urls(config)
    folder = urlsplit(config.agent_url).path.rstrip("/") + "/"
    path = urlsplit(card).path
    is_plain = not any(one in path for one in ("/../", "/./", "%", "\\", "//"))
    is_below = path.startswith(folder) or is_one_agent(card, config.agent_url)
    return is_plain and is_below and origin(card) == origin(config.agent_url)


def _whole(url: str) -> tuple[object, ...]:
    parts = urlsplit(url)
    return (*origin(url), parts.path.rstrip("/"), parts.query)


def origin(url: str) -> tuple[str, str, int | None]:
    """Return a URL's scheme, host and port."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


@dataclass(frozen=True)
class ShownCredentials:
    """The credentials that the pod has for remote agents."""

    own: Mapping[str, str]
    """The run's own headers, from its Secret."""
    own_url: str
    """The URL of the agent that they were given for."""
    own_card: str | None
    """The card path given with them; empty for the well-known URLs, None if unknown."""
    key: str
    """The profile's key; empty if it names none."""
    key_url: str | None
    """The URL of the profile's agent, the only one that the key is for."""


def choose(given: ShownCredentials, config: RemoteConfig) -> dict[str, str]:
    """Return the headers for an agent. Raises AttemptError if they were given for another one."""
    if given.own:
        is_card = given.own_card in (None, config.agent_card_path or "")
        if not is_one_agent(given.own_url, config.agent_url) or not is_card:
            raise _for_another(given.own_url, config)
        return dict(given.own)
    if not given.key:
        return {}
    is_its = given.key_url is not None and is_one_agent(given.key_url, config.agent_url)
    if not is_its or not is_cards_owner(config):
        message = (
            "The profile's provider.keySecret is for provider.baseURL"
            f" ({given.key_url or 'which is not set'}), not for {config.agent_url}"
            f"{f' with card {config.agent_card_path}' if is_its else ''}."
            " Set provider.baseURL to the agent's URL, or give the run its own credentials."
        )
        raise AttemptError(Reason.PROFILE_INVALID, message)
    return {"authorization": f"Bearer {given.key}"}


def _for_another(given_for: str, config: RemoteConfig) -> AttemptError:
    message = (
        "The credentials in the Secret of spec.backendConfig were given for"
        f" {given_for or 'no agent_url'}, not for {config.agent_url} with the card that the run"
        " names."
        " Create the run again with credentials of its own."
    )
    return AttemptError(Reason.PROFILE_INVALID, message)
