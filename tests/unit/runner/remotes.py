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
"""One of each way of speaking."""


@dataclass(frozen=True)
class Agents:
    """All agents of the fixtures, each below a path of one server."""

    url: str
    scripted: dict[str, Scripted] = field(default_factory=lambda: {n: Scripted() for n in KINDS})

    def at(self, agent: str) -> str:
        """Say where an agent is."""
        return f"{self.url}/{agent}"

    def told(self, agent: str, gateway: FakeGateway) -> list[str]:
        """Say what an agent was told in the conversation of a run."""
        return self.scripted[agent].heard[ref_of(gateway).context_id or ""]

    def metadata(self, agent: str, gateway: FakeGateway) -> list[dict[str, Any]]:
        """Return what came with each message of a run."""
        return self.scripted[agent].metadata[ref_of(gateway).context_id or ""]


@asynccontextmanager
async def serving() -> AsyncIterator[Agents]:
    """Serve all of them."""
    listener = socket.create_server(("127.0.0.1", 0))
    agents = Agents(f"http://127.0.0.1:{listener.getsockname()[1]}")
    # Some of them never answer: nobody waits for that in the end.
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
    """Return the agent's side of a run, as it was last reported."""
    refs = [one.remote_ref for one in gateway.states if one.remote_ref]
    assert refs, "nothing was reported of it"
    return refs[-1]


def asks(url: str, *steps: list[Any], **spec: Any) -> FakeGateway:
    """Make the gateway of a run that tells the agent at ``url`` what to do."""
    return a_gateway(*steps, backend="remote_a2a", backendConfig={"agent_url": url}, **spec)


@asynccontextmanager
async def a_pod(root: Path, gateway: FakeGateway, **options: Any) -> AsyncIterator[Pod]:
    """A pod without an agent: what stands for its container ends at once."""
    async with pod(root, gateway, ["true"], **options) as it:
        yield it


async def finish(root: Path, gateway: FakeGateway, **options: Any) -> str:
    """Live a run in one pod to its end, and return its log."""
    async with a_pod(root, gateway, **options) as it:
        return await it.ended()
