"""A pod's way to its API server, with the pod's account."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

ACCOUNT = "Bearer of-the-account"
"""What a request of the pod's account is authorized by."""


@asynccontextmanager
async def in_a_pod(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
) -> AsyncIterator[None]:
    """Be in a pod whose API server answers so, and in which a netrc file names other accounts."""
    netrc = folder / "netrc"
    netrc.write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:

        def load(client_configuration: Any) -> None:
            client_configuration.host = str(server.make_url("")).rstrip("/")
            client_configuration.api_key = {"BearerToken": ACCOUNT}

        monkeypatch.setattr("agentrun.kube.client.config.load_incluster_config", load)
        yield
