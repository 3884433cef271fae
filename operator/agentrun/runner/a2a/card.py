"""Reading and validation of a remote agent's card, with errors that state what to do."""

import asyncio
from urllib.parse import urlsplit

import httpx
from a2a.client import ClientConfig, ClientFactory
from a2a.client.card_resolver import parse_agent_card
from a2a.client.client import Client
from a2a.types import a2a_pb2

from agentrun.api.bounded_json import read
from agentrun.api.remote import RemoteConfig
from agentrun.api.v1alpha1 import Reason
from agentrun.runner.a2a.config import card_urls, is_one_agent, origin
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
            response = await _fetch(http, url)
        except RemoteError as error:
            if error.status != 404 or url == urls[-1]:
                raise _unreadable(urls[0], error) from error
            continue
        return _parse(url, response)
    raise AssertionError("the last URL returns or raises")


def make_client(
    http: httpx.AsyncClient, card: a2a_pb2.AgentCard, config: RemoteConfig, has_credentials: bool
) -> Client:
    """Make a client for the card's interfaces. Raises AttemptError if none is supported."""
    _check_urls(card, config)
    settings = ClientConfig(httpx_client=http, supported_protocol_bindings=[*_BINDINGS])
    try:
        client = ClientFactory(settings).create(card)
    except (ValueError, KeyError) as error:
        listed = (
            f"{one.protocol_binding or 'no binding'} of A2A {one.protocol_version or '?'}"
            for one in card.supported_interfaces
        )
        message = (
            f"The agent of {config.agent_url} offers no interface that AgentRun supports (JSONRPC"
            f" or HTTP+JSON of A2A 1.0 or 0.3); its card lists: {', '.join(listed)}. Have the agent"
            " offer one of them, or name another agent as backend_config.agent_url."
        )
        raise AttemptError(Reason.PROTOCOL_ERROR, message) from error
    if has_credentials:
        _check_origins(card, config)
    return client


async def _fetch(http: httpx.AsyncClient, url: str) -> httpx.Response:
    try:
        with explained():
            async with asyncio.timeout(CARD_SECONDS):
                response = await http.get(url)
            response.raise_for_status()
            return response
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


def _parse(url: str, response: httpx.Response) -> a2a_pb2.AgentCard:
    kind = response.headers.get("content-type", "").partition(";")[0][:100] or "no media type"
    try:
        card = parse_agent_card(read(response.content, "The card"))
    except Exception as error:
        why = f"{str(error).removesuffix('.')} ({kind}, {len(response.content)} bytes)"
        raise _not_a_card(url, why) from error
    if not card.name and not card.supported_interfaces:
        raise _not_a_card(url, "it is JSON, but has neither a name nor a URL of an agent")
    return card


def _not_a_card(url: str, why: str) -> AttemptError:
    message = f"The response of {url} is not an A2A agent card: {why}. {_CHECK}."
    return AttemptError(Reason.PROTOCOL_ERROR, message)


def origin_of_url(card: a2a_pb2.AgentCard, config: RemoteConfig) -> str:
    """Explain whose the URL of the agent's requests is; empty if it is ``agent_url`` itself."""
    urls = {one.url for one in card.supported_interfaces if one.protocol_binding in _BINDINGS}
    if all(is_one_agent(url, config.agent_url) for url in urls):
        return ""
    return (
        ". This URL is the one in the agent's card; backend_config.agent_url is"
        f" {config.agent_url}. Have the agent's card name a URL that pods can reach"
    )


def _check_urls(card: a2a_pb2.AgentCard, config: RemoteConfig) -> None:
    """Raise AttemptError if the card names no URL to which a message can be sent."""
    urls = [one.url for one in card.supported_interfaces]
    if not urls:
        what = "names no URL of the agent (supportedInterfaces; url in A2A 0.3)"
    elif wrong := next((url for url in urls if not _is_url(url)), None):
        what = f"names {wrong[:200]!r}, which is not an http or https URL"
    else:
        return
    message = (
        f"The card of the agent of {config.agent_url} {what}. Correct the card, or name the card of"
        " another agent as backend_config.agent_card_path."
    )
    raise AttemptError(Reason.PROTOCOL_ERROR, message)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


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
