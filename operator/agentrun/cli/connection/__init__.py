"""
The connection of the command line to the MCP server.

The server is reached by URL, or else through the API server with the user's kubeconfig. The token
is given, or else requested for this purpose. The two choices are independent of each other.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

from agentrun.cli.connection.discovery import Consent, Service, ask_person, find_service
from agentrun.cli.connection.forward import PodNetwork
from agentrun.cli.connection.kube import UserCluster
from agentrun.cli.connection.pods import Pods, missing_right
from agentrun.cli.connection.tokens import (
    CLIENT,
    BearerAuth,
    GivenToken,
    RequestedToken,
    TokenSource,
)
from agentrun.cli.connection.transport import NetworkTransport
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import CliError

# While it works on a response, the server sends a keepalive every 15 s.
TIMEOUT = httpx2.Timeout(60, connect=20)


@dataclass(frozen=True)
class ServerEndpoint:
    """A connection to the MCP server."""

    http: httpx2.AsyncClient
    """The client, configured with the transport and the token."""
    url: str
    """The URL of the MCP endpoint."""
    place: str
    """The name of the server in messages."""


@asynccontextmanager
async def server_endpoint(
    options: ConnectionOptions, consent: Consent = ask_person
) -> AsyncIterator[ServerEndpoint]:
    """
    Connect to the MCP server. Raises CliError if that is not possible.

    ``consent`` is asked before anything is sent to a namespace that the user has not named.
    """
    async with AsyncExitStack() as stack:
        if options.url and options.token:
            yield await _by_url(stack, options, GivenToken(options.token))
            return
        kube = await UserCluster.connect(options.kubeconfig, options.context)
        stack.push_async_callback(kube.close)
        if options.url:
            yield await _by_url(stack, options, _tokens(kube, options, None))
            return
        service = await find_service(kube, options, consent)
        tokens = _tokens(kube, options, service)
        network = PodNetwork(kube, Pods(kube, service), missing_right(service))
        http = httpx2.AsyncClient(
            transport=NetworkTransport(network), auth=BearerAuth(tokens), timeout=TIMEOUT
        )
        await stack.enter_async_context(http)
        place = f"{service.namespace}/{service.name} of {kube.place}"
        yield ServerEndpoint(http, f"http://{service.name}.{service.namespace}.svc/mcp", place)


async def _by_url(
    stack: AsyncExitStack, options: ConnectionOptions, tokens: TokenSource
) -> ServerEndpoint:
    url = options.url.rstrip("/").removesuffix("/mcp")
    if not _is_url(url):
        raise CliError(f"--url must be an http or https URL, not {options.url!r}")
    http = httpx2.AsyncClient(auth=BearerAuth(tokens), timeout=TIMEOUT)
    await stack.enter_async_context(http)
    return ServerEndpoint(http, f"{url}/mcp", url)


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_complete = parts.scheme in ("http", "https") and bool(parts.hostname)
        httpx2.URL(url)
    except (ValueError, httpx2.InvalidURL):
        return False
    return is_complete


def _tokens(kube: UserCluster, options: ConnectionOptions, service: Service | None) -> TokenSource:
    if options.token:
        return GivenToken(options.token)
    served = service.run_namespaces if service else ()
    namespace = options.namespace or next(iter(served), "agents")
    role = service.token_role if service else "agentrun-user-token"
    return RequestedToken(kube, namespace, options.service_account or CLIENT, role=role)
