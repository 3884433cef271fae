"""The credentials for a remote agent: the run's own, else the profile's key. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from agentrun.api.remote import RemoteConfig
from agentrun.api.v1alpha1 import Reason
from agentrun.runner.a2a.config import is_cards_owner, is_one_agent
from agentrun.runner.outcome import AttemptError


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
