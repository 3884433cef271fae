"""The fixtures' remote agents on the loopback: the real SDK's server, and the real runner's pod."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from agentrun.api.v1alpha1 import RemoteRef
from dev.a2a.script import Scripted
from dev.a2a.server import KINDS, make_all
from tests.unit.runner.harness import FakeGateway, Pod, a_gateway, pod

SPOKEN = ["streaming", "polled", "old", "old-polled", "rest"]
"""One agent for each way of communication."""


@dataclass(frozen=True)
class Agents:
    """All agents of the fixtures, each below a path of one server."""

    url: str
    scripted: dict[str, Scripted] = field(default_factory=lambda: {n: Scripted() for n in KINDS})

    def at(self, agent: str) -> str:
        """Return the URL of an agent."""
        return f"{self.url}/{agent}"

    def told(self, agent: str, gateway: FakeGateway) -> list[str]:
        """Return the messages that an agent received in the conversation of a run."""
        return self.scripted[agent].heard[ref_of(gateway).context_id or ""]

    def metadata(self, agent: str, gateway: FakeGateway) -> list[dict[str, Any]]:
        """Return the metadata of each message of a run."""
        return self.scripted[agent].metadata[ref_of(gateway).context_id or ""]


@asynccontextmanager
async def serving() -> AsyncIterator[Agents]:
    """Serve all agents."""
    listener = socket.create_server(("127.0.0.1", 0))
    agents = Agents(f"http://127.0.0.1:{listener.getsockname()[1]}")
    # Some agents never answer, so the shutdown does not wait for them.
    settings = uvicorn.Config(
        make_all(agents.url, agents.scripted), log_level="error", timeout_graceful_shutdown=0
    )
    server = uvicorn.Server(settings)
    served = asyncio.create_task(server.serve([listener]))
    try:
        yield agents
    finally:
        server.should_exit = True
        await served


def ref_of(gateway: FakeGateway) -> RemoteRef:
    """Return the remote task of a run, as last reported."""
    refs = [one.remote_ref for one in gateway.states if one.remote_ref]
    assert refs, "nothing was reported of it"
    return refs[-1]


def asks(url: str, *steps: list[Any], **spec: Any) -> FakeGateway:
    """Build the gateway of a run whose prompt scripts the agent at ``url`` with ``steps``."""
    return a_gateway(*steps, backend="remote_a2a", backendConfig={"agent_url": url}, **spec)


@asynccontextmanager
async def a_pod(root: Path, gateway: FakeGateway, **options: Any) -> AsyncIterator[Pod]:
    """Start a pod of a remote agent: the agent's container ends immediately."""
    async with pod(root, gateway, ["true"], **options) as it:
        yield it


async def finish(root: Path, gateway: FakeGateway, **options: Any) -> str:
    """Run to the end in one pod, and return the runner's log."""
    async with a_pod(root, gateway, **options) as it:
        return await it.ended()
