"""Cards of remote agents: what the messages about faulty ones name."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from agentrun.api.remote import RemoteConfig
from agentrun.runner.a2a.client import connect
from agentrun.runner.a2a.errors import RemoteError
from agentrun.runner.outcome import AttemptError
from tests.unit.runner.harness import serve

NOTHING_LISTENS = "http://127.0.0.1:9/"
OLD = {
    "name": "odd", "description": "d", "version": "1", "protocolVersion": "0.3.0",
    "url": NOTHING_LISTENS, "capabilities": {"streaming": True}, "skills": [],
    "defaultInputModes": ["text"], "defaultOutputModes": ["text"],
}  # fmt: skip


class Host:
    """A host that serves one response as every agent's card."""

    url: str
    card: Any = OLD

    async def respond(self, request: web.Request) -> web.Response:
        if isinstance(self.card, web.Response):
            return self.card
        if request.method == "POST":
            raise web.HTTPNotFound
        return web.json_response(self.card)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    app, it = web.Application(), Host()
    app.router.add_route("*", "/{path:.*}", it.respond)
    async with serve(app) as it.url:
        yield it


async def send(url: str) -> str:
    """Send a message to the agent at ``url``, and return the error."""
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hello"}]}
    try:
        async with connect(RemoteConfig(agent_url=url), {}) as remote:
            answers = [one async for one in remote.send(message)]
    except (AttemptError, RemoteError) as error:
        return str(error)
    raise AssertionError(f"the agent answered {answers}")


@pytest.mark.parametrize(
    ("card", "named"),
    [
        pytest.param({"url": "/rpc"}, "names '/rpc', which is not an http or https URL", id="path"),
        pytest.param({"url": "agent:8080"}, "names 'agent:8080', which is not", id="scheme"),
        pytest.param({"url": "http:///rpc"}, "names 'http:///rpc', which is not", id="no-host"),
        pytest.param({"url": "http://[::/rpc"}, r"names 'http://[::/rpc', which", id="not-a-url"),
        pytest.param({"url": None}, "names no URL of the agent", id="no-url"),
        pytest.param({"protocolVersion": "0.2.6"}, "lists: JSONRPC of A2A 0.2.6.", id="version"),
        pytest.param({"preferredTransport": "GRPC"}, "lists: GRPC of A2A 0.3.0.", id="binding"),
    ],
)
async def test_what_is_wrong_in_a_card_is_named(
    host: Host, card: dict[str, Any], named: str
) -> None:
    host.card = {**OLD, **card}
    message = await send(f"{host.url}/agent")
    assert named in message
    assert f"{host.url}/agent" in message


@pytest.mark.parametrize(
    ("response", "named"),
    [
        pytest.param(("<h1>Hi</h1>", "text/html"), "(text/html, 11 bytes)", id="page"),
        pytest.param(("[]", "application/json"), "must be a JSON object", id="list"),
        pytest.param(("{}", "application/json"), "neither a name nor a URL", id="other-json"),
        pytest.param(("", "application/json"), "0 bytes", id="empty"),
    ],
)
async def test_what_is_found_instead_of_a_card_is_named(
    host: Host, response: tuple[str, str], named: str
) -> None:
    text, kind = response
    host.card = web.Response(text=text, content_type=kind)
    message = await send(host.url)
    assert named in message
    assert f"{host.url}/.well-known/agent-card.json" in message
    assert "Check backend_config.agent_url" in message


async def test_unreachable_url_of_a_card_is_named_as_the_cards(host: Host) -> None:
    message = await send(host.url)
    assert message.startswith(f"{NOTHING_LISTENS} cannot be reached: ")
    assert f"the one in the agent's card; backend_config.agent_url is {host.url}." in message


async def test_url_of_a_card_at_which_nothing_is_served_is_named(host: Host) -> None:
    host.card = {**OLD, "url": f"{host.url}/rpc"}
    message = await send(f"{host.url}/agent")
    assert f"{host.url}/rpc answered 404" in message
    assert "the one in the agent's card" in message


async def test_card_of_the_agents_own_url_is_not_blamed(host: Host) -> None:
    host.card = {**OLD, "url": f"{host.url}/"}
    message = await send(host.url)
    assert "answered 404" in message
    assert "card" not in message


async def test_unreachable_card_is_named() -> None:
    message = await send(NOTHING_LISTENS)
    assert f"{NOTHING_LISTENS}.well-known/agent-card.json cannot be reached: " in message
    assert message.endswith("and that pods can reach it.")


async def test_server_without_tls_is_named(host: Host) -> None:
    message = await send(host.url.replace("http:", "https:"))
    assert "does not use TLS at this port" in message
