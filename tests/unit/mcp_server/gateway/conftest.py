import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from agentrun.api.v1alpha1 import AgentRun, AgentRunStatus, Phase
from agentrun.store.base import RunRow
from mcp_server.gateway import build_gateway
from tests.contract.builders import a_run
from tests.memory_store import MemoryBlobStore, MemoryRunStore
from tests.unit.mcp_server.gateway.fakes import FakeAuthenticator, FakeRuns, a_profile, a_session

POD = "team/run-1-1/pod-1"
"""The token of the first attempt's pod."""


def the_run(**status: Any) -> AgentRun:
    run = a_run("uid-1", "run-1", version=10)
    known = {"phase": Phase.RUNNING, "attempts": 1, "pod_name": "run-1-1", "pod_uid": "pod-1"}
    run.status = AgentRunStatus.model_validate({**known, **status})
    return run


@dataclass
class World:
    """A gateway with a run, and its fake dependencies."""

    store: MemoryRunStore
    blobs: MemoryBlobStore
    runs: FakeRuns
    authenticator: FakeAuthenticator
    closing: asyncio.Event
    http: httpx2.AsyncClient

    async def call(
        self, method: str, path: str, body: Any = None, token: str = POD, **more: Any
    ) -> httpx2.Response:
        headers = {"authorization": f"Bearer {token}", **more.pop("headers", {})}
        if isinstance(body, bytes):
            more["content"] = body
        elif body is not None:
            more["json"] = body
        return await self.http.request(method, path, headers=headers, **more)

    async def see(self, run: AgentRun) -> None:
        """Put ``run`` into the fake API server and the store."""
        self.runs.put(run)
        await self.store.record_run(RunRow(run))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store, blobs, closing = MemoryRunStore(), MemoryBlobStore(), asyncio.Event()
    runs, authenticator = FakeRuns(), FakeAuthenticator()
    runs.profiles["codex"] = a_profile()
    runs.sessions["run-1"] = a_session("run-1", "session-1")
    app = build_gateway(store, blobs, runs, authenticator, closing)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as http:
        made = World(store, blobs, runs, authenticator, closing, http)
        await made.see(the_run())
        yield made
    await store.close()
