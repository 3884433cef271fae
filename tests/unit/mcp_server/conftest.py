import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import mcp
import pytest
from mcp_types import TextContent

from agentrun.api.events import EventType, NewEvent
from agentrun.kube.api import Object
from agentrun.kube.resources import PROFILES, RUNS, SESSIONS, Resource
from agentrun.store.base import RunRow, RunStore
from mcp_server.access.auth import Caller
from mcp_server.access.policy import user_policies
from mcp_server.access.subjects import Access
from mcp_server.runs.runs import Runs
from mcp_server.server.app import build_server
from mcp_server.tools.context import ToolContext
from mcp_server.watches.run_sync import RunSync
from mcp_server.watches.watched import Informer, Watched
from tests.memory_store import MemoryBlobStore, MemoryRunStore
from tests.unit.mcp_server.cluster import FakeCluster, profile

NOW = datetime(2026, 11, 23, 12, 0, 5, tzinfo=UTC)
ALICE = Caller("system:serviceaccount:team-a:alice")
BOB = Caller("system:serviceaccount:team-a:bob")
PERSON = Caller("alice@example.test")
LET_IN = Access(users=frozenset({one.username for one in (ALICE, BOB, PERSON)}))
PREFIX = "Error: "
WATCHED = (RUNS, SESSIONS, PROFILES)


@dataclass
class Bench:
    """An MCP server on a fake cluster, and a client connected to it."""

    cluster: FakeCluster
    store: MemoryRunStore
    blobs: MemoryBlobStore
    watched: Watched
    tool_context: ToolContext
    client: mcp.Client = field(init=False)
    caller: Caller = ALICE

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must succeed."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        assert isinstance(result.structured_content, dict)
        return result.structured_content

    async def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool that must fail, and return its error message."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        (content,) = result.content
        assert isinstance(content, TextContent)
        assert content.text.startswith(PREFIX), content.text
        return content.text.removeprefix(PREFIX)

    async def spawn(self, **arguments: Any) -> dict[str, Any]:
        """Start a run with the fewest possible arguments."""
        given = {"backend": "codex", "role": "worker", "prompt": "Work."} | arguments
        return await self.call("spawn_run", **given)

    async def say(self, run_id: str, *events: tuple[EventType, dict[str, Any]]) -> None:
        """Append to a run's journal, as its runner does."""
        row = await self.row(run_id)
        new = [
            NewEvent(
                seq=row.last_seq + index,
                event_id=f"event-{row.last_seq + index}",
                ts="2026-11-23T12:00:01.000Z",
                type=kind,
                data=data,
            )
            for index, (kind, data) in enumerate(events, start=1)
        ]
        await self.store.append(row.run.metadata.uid, 1, new)

    @property
    def run_sync(self) -> RunSync:
        """The controller that maintains the rows of the runs."""
        return self.watched.run_sync

    async def add(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Add an object as another client does, and wait until the cache has it."""
        made = self.cluster.add(resource, namespace, body)
        uid, cache = made["metadata"]["uid"], self._cache(resource)

        async def is_known() -> bool:
            return await cache.of_uid(namespace, uid) is not None

        await eventually(is_known)
        return made

    async def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object as another client does, and wait until the cache has dropped it."""
        self.cluster.remove(resource, namespace, name)
        cache = self._cache(resource)

        async def is_gone() -> bool:
            return name not in {one.metadata.name for one in cache.all(namespace)}

        await eventually(is_gone)

    def _cache(self, resource: Resource) -> Informer[Any]:
        caches: dict[Resource, Informer[Any]] = {
            SESSIONS: self.watched.sessions,
            PROFILES: self.watched.profiles,
        }
        return caches[resource]

    async def row(self, run_id: str, namespace: str = "team-a") -> RunRow:
        """Return a run's row."""
        row = await self.store.get_run(namespace, run_id)
        assert row is not None
        return row


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Yield to the other tasks until ``is_so`` holds."""
    async with asyncio.timeout(30):
        turns = 0
        while not await is_so():
            turns += 1
            # A condition that is not met by then depends on time, not only on other tasks.
            await asyncio.sleep(0 if turns < 100 else 0.001)


@asynccontextmanager
async def cached(cluster: FakeCluster, store: RunStore, namespace: str) -> AsyncIterator[Watched]:
    """Watch the sessions and profiles of a namespace; runs are known only from their rows."""
    watched = Watched(cluster, store, [namespace])
    caches = watched.sessions, watched.profiles
    tasks = [asyncio.create_task(cache.run()) for cache in caches]

    async def is_ready() -> bool:
        return all(cache.is_ready for cache in caches)

    await eventually(is_ready)
    yield watched
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class AnyContext:
    """
    The tool context of the current test.

    Describing the tools to clients takes longer than most tests, and is the same in each. All tests
    therefore share one server, which delegates to the current test's context.
    """

    def __init__(self) -> None:
        self.tool_context: ToolContext | None = None
        self.server = build_server(cast(ToolContext, self))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tool_context, name)


@pytest.fixture(autouse=True)
def quick_burials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check again for a deleted pod after a shorter pause than in production."""
    monkeypatch.setattr("mcp_server.watches.run_sync._POD_GONE_PAUSES", (0.05,))


@pytest.fixture(scope="session")
def any_context() -> AnyContext:
    return AnyContext()


@pytest.fixture
async def bench(any_context: AnyContext) -> AsyncIterator[Bench]:
    cluster, store = FakeCluster(), MemoryRunStore()
    namespaces = ("team-b", "team-a")
    watched = Watched(cluster, store, namespaces, now=lambda: NOW, pauses=(0.0,))
    blobs = MemoryBlobStore()
    runs = Runs(cluster, store, watched)
    policies = user_policies(LET_IN, namespaces, runs.quarantine, lambda: made.caller)
    tool_context = ToolContext(store, blobs, runs, policies, now=lambda: NOW)
    made = Bench(cluster, store, blobs, watched, tool_context)
    any_context.tool_context = tool_context
    cluster.add(PROFILES, "team-a", profile())
    following = asyncio.create_task(watched.run())

    async def is_ready() -> bool:
        return watched.is_ready and cluster.watches == len(WATCHED) * len(namespaces)

    await eventually(is_ready)
    connected, leave = asyncio.Event(), asyncio.Event()

    async def connect() -> None:
        # The same task opens and closes the client: the two halves of a fixture run in two tasks.
        async with mcp.Client(any_context.server) as made.client:
            connected.set()
            await leave.wait()

    connecting = asyncio.create_task(connect())
    await connected.wait()
    yield made
    leave.set()
    await connecting
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
