"""``agentrun mcp``: the stdio bridge for MCP clients."""

import asyncio
import logging
import signal
import sys
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import CliError


def mcp(
    connection: ConnectionOptions,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only check that the MCP server can be reached, and exit."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more to stderr.")] = False,
) -> None:
    """
    Connect an MCP client on this machine to AgentRun in a cluster.

    The client starts this command and speaks MCP with it over stdin and stdout. It finds AgentRun
    with your kubeconfig, forwards a connection to it, and requests short-lived tokens, as long as
    the client runs. It needs no setup, and leaves nothing behind.

    \b
    Claude Code:  claude mcp add agentrun -- agentrun mcp
    Codex:        codex mcp add agentrun -- agentrun mcp
    """
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="agentrun: %(message)s", stream=sys.stderr)
    if check:
        asyncio.run(_check(connection))
        return
    raise typer.Exit(asyncio.run(_bridge(connection)))


async def _bridge(connection: ConnectionOptions) -> int:
    # Not at module level: the Kubernetes client takes most of a second, and help needs none of it.
    from agentrun.cli.bridge.session import serve
    from agentrun.cli.bridge.stdio import Wire, take_stdio

    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(serve(Wire(*take_stdio()), connection))
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        serving.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    try:
        await serving
    except asyncio.CancelledError:
        if not received:
            raise
    # The shell's exit code for a signal.
    return 128 + received[0] if received else 0


async def _check(connection: ConnectionOptions) -> None:
    from agentrun.cli.bridge.exchange import refusal
    from agentrun.cli.connection import server_endpoint

    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(server_endpoint(connection))
        answer = await endpoint.http.get(endpoint.url.removesuffix("/mcp") + "/readyz")
        if not answer.is_success:
            raise CliError(f"{endpoint.place} is not ready: {answer.text.strip()[:300]}")
        # Readiness is public; only a request shows whether this client is authorized.
        if why := await refusal(endpoint):
            raise CliError(f"{endpoint.place} is ready, but rejects your requests: {why}")
        typer.echo(f"AgentRun is ready: {endpoint.place}")
