"""Which credentials a remote agent is shown: the run's own, else the profile's key. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from agentrun.api.remote import RemoteConfig
from agentrun.api.v1alpha1 import Reason
from agentrun.runner.a2a.config import origin
from agentrun.runner.outcome import Failure


@dataclass(frozen=True)
class Given:
    """What the pod was given for remote agents."""

    own: Mapping[str, str]
    """The run's own headers, from its Secret."""
    own_url: str
    """The agent that they were given for."""
    key: str
    """The profile's key; empty if it names none."""
    key_url: str | None
    """The profile's agent, the only one that the key is for."""


def choose(given: Given, config: RemoteConfig) -> dict[str, str]:
    """Choose the headers for an agent. Failure if they were given for another."""
    if given.own:
        if origin(given.own_url) != origin(config.agent_url):
            raise _for_another(given.own_url, config)
        return dict(given.own)
    if not given.key:
        return {}
    if given.key_url is None or origin(given.key_url) != origin(config.agent_url):
        message = (
            "The profile's provider.keySecret is for provider.baseURL"
            f" ({given.key_url or 'which is not set'}), not for {config.agent_url}."
            " Set provider.baseURL to the agent's URL, or give the run its own credentials."
        )
        raise Failure(Reason.PROFILE_INVALID, message)
    return {"authorization": f"Bearer {given.key}"}


def _for_another(given_for: str, config: RemoteConfig) -> Failure:
    message = (
        "The credentials in the Secret of spec.backendConfig were given for"
        f" {given_for or 'no agent_url'}, not for {config.agent_url}."
        " Create the run again with credentials of its own."
    )
    return Failure(Reason.PROFILE_INVALID, message)
