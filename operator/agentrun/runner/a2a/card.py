"""Reading and validation of a remote agent's card, with errors that state what to do."""

import asyncio

import httpx
from a2a.client import ClientConfig, ClientFactory
from a2a.client.card_resolver import parse_agent_card
from a2a.client.client import Client
from a2a.types import a2a_pb2

from agentrun.api.bounded_json import read
from agentrun.api.remote import RemoteConfig
from agentrun.api.v1alpha1 import Reason
from agentrun.runner.a2a.config import card_urls, origin
from agentrun.runner.a2a.errors import RemoteError, explained
from agentrun.runner.outcome import AttemptError

CARD_SECONDS = 30.0
"""The timeout for reading an agent's card."""
_BINDINGS = ("JSONRPC", "HTTP+JSON")
_CHECK = "Check backend_config.agent_url and agent_card_path"


async def read_card(http: httpx.AsyncClient, config: RemoteConfig) -> a2a_pb2.AgentCard:
    """Read the card from the first URL that has one. Raises AttemptError if none has."""
    urls = card_urls(config)
    for url in urls:
        try:
            content = await _fetch(http, url)
        except RemoteError as error:
            if error.status != 404 or url == urls[-1]:
                raise _unreadable(urls[0], error) from error
            continue
        return _parse(url, content)
    raise AssertionError("the last URL returns or raises")


def make_client(
    http: httpx.AsyncClient, card: a2a_pb2.AgentCard, config: RemoteConfig, has_credentials: bool
) -> Client:
    """Make a client for the card's interfaces. Raises AttemptError if none is supported."""
    settings = ClientConfig(httpx_client=http, supported_protocol_bindings=[*_BINDINGS])
    try:
        client = ClientFactory(settings).create(card)
    except (ValueError, KeyError) as error:
        spoken = ", ".join(one.protocol_binding for one in card.supported_interfaces)
        message = (
            f"The agent of {config.agent_url} offers no interface that AgentRun supports (JSONRPC"
            f" or HTTP+JSON of A2A 1.0 or 0.3); its card lists: {spoken or 'none'}."
        )
        raise AttemptError(Reason.PROTOCOL_ERROR, message) from error
    if has_credentials:
        _check_origins(card, config)
    return client


async def _fetch(http: httpx.AsyncClient, url: str) -> bytes:
    try:
        with explained():
            async with asyncio.timeout(CARD_SECONDS):
                response = await http.get(url)
            response.raise_for_status()
            return response.content
    except RemoteError as error:
        if isinstance(error.__cause__, TimeoutError | httpx.TimeoutException):
            raise RemoteError(f"no answer within {CARD_SECONDS:.0f} s") from error
        raise


def _unreadable(url: str, error: RemoteError) -> AttemptError:
    failure = error.as_attempt_error(f"The agent's card cannot be read from {url}")
    if failure.reason is Reason.AUTH_REQUIRED:
        return failure
    hint = f"{failure.message}. {_CHECK}, and that pods can reach it."
    return AttemptError(failure.reason, hint)


def _parse(url: str, content: bytes) -> a2a_pb2.AgentCard:
    try:
        return parse_agent_card(read(content, "The card"))
    except Exception as error:
        message = f"The response of {url} is not an A2A agent card: {error}. {_CHECK}."
        raise AttemptError(Reason.PROTOCOL_ERROR, message) from error


def _check_origins(card: a2a_pb2.AgentCard, config: RemoteConfig) -> None:
    """Raise AttemptError if the card names an origin that the credentials were not given for."""
    spoken = [one.url for one in card.supported_interfaces if one.protocol_binding in _BINDINGS]
    if all(origin(url) == origin(config.agent_url) for url in spoken):
        return
    elsewhere = next(url for url in spoken if origin(url) != origin(config.agent_url))
    message = (
        f"The agent's card points to {elsewhere}, but the credentials were given for"
        f" {config.agent_url}. If you trust this host, set backend_config.agent_url to its URL and"
        " agent_card_path to the URL of the card."
    )
    raise AttemptError(Reason.PROVIDER_ERROR, message)
