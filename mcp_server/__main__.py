"""
The entry point of the MCP server: two HTTP servers and the watches in one event loop.

Port 8080 serves MCP clients, port 8081 serves runners. On SIGTERM the process drains and then stops
(see ``mcp_server.http.shutdown``).
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

from agentrun.kube.client import Kube, connect
from agentrun.listening import ListenError, listen
from agentrun.store.base import BlobStore, RunStore, StoreError
from agentrun.store.blobs import open_blobs
from agentrun.store.sql import open_store
from mcp_server.access.auth import KubernetesTokenVerifier
from mcp_server.access.policy import user_policies
from mcp_server.access.subjects import NOBODY
from mcp_server.gateway import build_gateway
from mcp_server.gateway.auth import TokenReviewAuthenticator
from mcp_server.gateway.kube import KubernetesRunDirectory
from mcp_server.http.connections import CLIENTS, RUNNERS, Bounded, ConnectionLimits, protocol_with
from mcp_server.http.shutdown import CloseWhenLeaving, Shutdown
from mcp_server.runs.runs import Runs
from mcp_server.server.app import build_app
from mcp_server.settings import Settings, SettingsError, load_settings
from mcp_server.tools.context import ToolContext
from mcp_server.watches.watched import Watched

_log = logging.getLogger("mcp_server")

_SHUTDOWN_SECONDS = 5
_REQUEST_SECONDS = 15
_DATE_SECONDS = 1
# Longer than clients and proxies keep an idle connection (httpx 5 s, many proxies 60 s): if the
# server closes it first, the client's next request on it may fail.
_IDLE_SECONDS = 75


class _Server(uvicorn.Server):
    """A uvicorn server that installs no signal handlers: the process stops both servers itself."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Have ``serve`` return after a graceful shutdown."""
        self.should_exit = True
        self._stopping.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, by default on all addresses: uvicorn's own sockets have one family."""
        listeners = sockets or [listen(self.config.port, self.config.host)]
        await super().startup(listeners)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield

    async def main_loop(self) -> None:
        """
        Update the Date header once a second until ``stop`` is called.

        uvicorn's own loop looks ten times a second whether it is to stop, which is most of what an
        idle MCP server does.
        """
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(_DATE_SECONDS):
                    await self._stopping.wait()


async def serve(settings: Settings, shutdown: Shutdown) -> None:
    """Serve until ``shutdown`` has completed, or a server or the watches have ended."""
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(connect(_REQUEST_SECONDS))
        # Reviews of invalid tokens must not use up the connections that outcomes are written on.
        reviewer = await stack.enter_async_context(connect(_REQUEST_SECONDS))
        store, blobs = await _open(settings)
        stack.push_async_callback(store.close)
        await _serve(settings, shutdown, kube, reviewer, store, blobs)


async def _open(settings: Settings) -> tuple[RunStore, BlobStore]:
    try:
        blobs = open_blobs(settings.blobs_url)
    except ValueError as error:
        raise SettingsError(f"AGENTRUN_BLOBS_URL: {error}") from None
    # Fails at startup, not with the first run, if the bucket does not exist or is not writable.
    await blobs.put("start/check", b"", "text/plain")
    try:
        return await open_store(settings.store_url), blobs
    except ValueError as error:
        raise SettingsError(f"AGENTRUN_STORE_URL: {error}") from None


async def _serve(
    settings: Settings,
    shutdown: Shutdown,
    kube: Kube,
    reviewer: Kube,
    store: RunStore,
    blobs: BlobStore,
) -> None:
    watched = Watched(kube, store, settings.namespaces)
    runs = Runs(kube, store, watched)
    context = ToolContext(
        store,
        blobs,
        runs,
        user_policies(settings.access, settings.namespaces, runs.quarantine),
        shutdown.stopping,
        shutdown.leaving,
    )
    if settings.access == NOBODY:
        _log.warning("no caller is authorized to call the tools: AGENTRUN_ACCESS lists no subject")
    front = build_app(
        context, KubernetesTokenVerifier(reviewer), settings, lambda: watched.is_ready
    )
    directory, authenticator = KubernetesRunDirectory(kube), TokenReviewAuthenticator(reviewer)
    gateway = build_gateway(store, blobs, directory, authenticator, shutdown.stopping, context)
    servers = [
        _server(CloseWhenLeaving(app, shutdown.leaving), settings.host, port, bounds)
        for app, port, bounds in (
            (front, settings.port, CLIENTS),
            (gateway, settings.gateway_port, RUNNERS),
        )
    ]
    following = asyncio.create_task(watched.run(), name="watches")
    serving = [asyncio.create_task(server.serve()) for server in servers]
    stop = asyncio.create_task(shutdown.run())
    _log.info(
        "serving namespaces %s: MCP on port %d, gateway on port %d",
        ", ".join(settings.namespaces),
        settings.port,
        settings.gateway_port,
    )
    try:
        await asyncio.wait([stop, following, *serving], return_when=asyncio.FIRST_COMPLETED)
        _log.info("stopping")
    finally:
        shutdown.end_now()
        for server in servers:
            server.stop()
        results = await asyncio.gather(*serving, return_exceptions=True)
        is_following = following.cancel()
        stop.cancel()
        results += await asyncio.gather(following, return_exceptions=True)
    _raise_first(results, may_be_cancelled=is_following)


def _server(app: ASGIApp, host: str, port: int, bounds: ConnectionLimits) -> _Server:
    return _Server(
        uvicorn.Config(
            Bounded(app, bounds),
            http=protocol_with(bounds),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
    )


def _raise_first(results: list[BaseException | None], *, may_be_cancelled: bool) -> None:
    for result in results:
        if isinstance(result, asyncio.CancelledError) and may_be_cancelled:
            continue
        if result is not None:
            raise result


def _configure_logging(level: str) -> None:
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    if level != "DEBUG":
        # The libraries' messages about each request do not concern runs.
        for library in ("mcp", "uvicorn", "kubernetes", "aiohttp", "alembic"):
            logging.getLogger(library).setLevel(logging.WARNING)


async def _main(settings: Settings) -> None:
    shutdown = Shutdown(settings.drain_seconds)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, shutdown.leaving.set)
    await serve(settings, shutdown)


def main() -> int:
    """Run the MCP server; return 0 after a shutdown, 1 without its store, 2 for bad settings."""
    try:
        settings = load_settings(os.environ)
        _configure_logging(settings.log_level)
        asyncio.run(_main(settings))
    except SettingsError as error:
        sys.stderr.write(f"agentrun: {error}\n")
        return 2
    except StoreError as error:
        # The error names the database; the URL may contain a password and is not logged.
        _log.error("the MCP server cannot start without its store: %s", error)
        return 1
    except ListenError as error:
        _log.error("the MCP server cannot start: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
