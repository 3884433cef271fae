"""The remote agent of a run, and the URLs where its card may be."""

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
