"""The sessions that the MCP server caches: as fresh as the watch, and as own writes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agentrun.api.quarantine import Quarantine
from agentrun.api.v1alpha1 import AgentSession
from agentrun.kube.api import Object
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import SESSIONS
from mcp_server.schemas.agent_views import place_of_session
from mcp_server.watches.watched import Informer
from tests.unit.mcp_server.cluster import FakeCluster, session
from tests.unit.mcp_server.conftest import eventually

Cache = Informer[AgentSession]
UID = "6d3f0d6a-6a5e-4d1c-9d4d-3f4f0f6b2a11"


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def a_cache(cluster: FakeCluster) -> Cache:
    return Informer(cluster, SESSIONS, AgentSession, ["team-a"], Quarantine(), pauses=(0.0,))


@pytest.fixture
async def cache(cluster: FakeCluster) -> AsyncIterator[Cache]:
    made = a_cache(cluster)
    following = asyncio.create_task(made.run())
    yield made
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


def names(cache: Cache) -> list[str]:
    return sorted(one.metadata.name for one in cache.all("team-a"))


def made_of(manifest: Object, **metadata: str) -> Object:
    return {**manifest, "metadata": {**manifest["metadata"], **metadata}}


async def until_ready(cache: Cache) -> None:
    async def is_ready() -> bool:
        return cache.is_ready

    await eventually(is_ready)


async def until(cache: Cache, *wanted: str) -> None:
    async def is_so() -> bool:
        return cache.is_ready and names(cache) == list(wanted)

    await eventually(is_so)


def test_before_the_first_list_objects_are_unknown(cluster: FakeCluster) -> None:
    cache = a_cache(cluster)
    with pytest.raises(
        ApiUnavailableError, match="agentsessions of namespace team-a have not been listed yet"
    ):
        cache.all("team-a")
    assert not cache.is_ready


async def test_changes_by_others_are_followed(cluster: FakeCluster, cache: Cache) -> None:
    cluster.add(SESSIONS, "team-a", session("ada"))
    await until(cache, "ada")
    uid = cluster.add(SESSIONS, "team-a", session("bob"))["metadata"]["uid"]
    await until(cache, "ada", "bob")
    found = await cache.of_uid("team-a", uid)
    assert found is not None
    assert found.metadata.name == "bob"
    cluster.remove(SESSIONS, "team-a", "bob")
    await until(cache, "ada")
    assert await cache.of_uid("team-a", uid) is None


async def test_objects_deleted_during_a_broken_watch_are_removed(
    cluster: FakeCluster, cache: Cache
) -> None:
    cluster.add(SESSIONS, "team-a", session("ada"))
    await until_ready(cache)
    del cluster.objects[SESSIONS.plural, "team-a", "ada"]  # The watch never tells of it.
    cluster.forget_history()
    await until(cache)


async def test_own_writes_are_visible_at_once_and_not_reverted(
    cluster: FakeCluster, cache: Cache
) -> None:
    await until_ready(cache)
    own = made_of(session("own"), namespace="team-a", uid=UID, resourceVersion="9000")
    cache.put("team-a", own)
    assert names(cache) == ["own"]
    cluster.forget_history()  # The next list is older than what was written.
    cluster.add(SESSIONS, "team-a", session("ada"))
    await until(cache, "ada", "own")
    cache.put(
        "team-a", made_of(session("own"), namespace="team-a", uid="older", resourceVersion="8000")
    )
    found = await cache.of_uid("team-a", UID)
    assert found is not None
    assert found.metadata.version == 9000
    cache.remove(found)
    assert names(cache) == ["ada"]


async def test_a_session_created_by_another_replica_is_awaited_by_its_id(
    cluster: FakeCluster, cache: Cache
) -> None:
    await until_ready(cache)
    looking = asyncio.create_task(cache.of_uid("team-a", UID))
    await asyncio.sleep(0)
    assert not looking.done()
    cache.put(
        "team-a", made_of(session("late"), namespace="team-a", uid=UID, resourceVersion="9000")
    )
    found = await looking
    assert found is not None
    assert found.metadata.name == "late"


async def test_cached_objects_are_used_during_an_outage_but_not_of_a_forbidden_namespace(
    cluster: FakeCluster, cache: Cache
) -> None:
    cluster.add(SESSIONS, "team-a", session("ada"))
    await until(cache, "ada")
    cluster.begin_outage(ApiUnavailableError("connection refused"))
    assert names(cache) == ["ada"]
    cluster.outage = ApiError(403, "Forbidden", "may not list agentsessions")

    async def is_closed() -> bool:
        try:
            cache.all("team-a")
        except ApiError as error:
            return error.status == 403
        return False

    await eventually(is_closed)
    assert cache.is_ready


async def test_objects_are_ordered_by_time_of_change(cluster: FakeCluster) -> None:
    cache = Informer(
        cluster, SESSIONS, AgentSession, ["team-a"], Quarantine(), place_of=place_of_session
    )

    def a_session(name: str, second: int, version: int = 1, uid: str = "") -> Object:
        updated = f"2026-11-23T12:00:{second:02}Z"
        meta = {"namespace": "team-a", "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
        body = session(name, updatedAt=updated)
        return {**body, "metadata": {**body["metadata"], **meta}}

    def newest(limit: int = 9, before: AgentSession | None = None) -> list[str]:
        place = place_of_session(before) if before else None
        return [one.metadata.name for one in cache.last("team-a", limit, place)]

    with pytest.raises(ApiUnavailableError, match="have not been listed yet"):
        cache.last("team-a", 1)
    await cache.listed(
        "team-a", [a_session(name, at) for name, at in zip("abc", (3, 1, 2), strict=True)], 1
    )
    assert newest() == ["a", "c", "b"]
    assert newest(1) == ["a"]
    await cache.changed("team-a", a_session("b", 9, 2), False)
    assert newest() == ["b", "a", "c"]
    await cache.changed("team-a", a_session("b", 0, 1), False)  # An older state comes late.
    assert newest() == ["b", "a", "c"]
    assert newest(9, cache.named("team-a", "b")) == ["a", "c"]
    cache.put("team-a", made_of(a_session("d", 2, 3)))
    await cache.changed("team-a", a_session("a", 3, 4), True)
    assert newest() == ["b", "d", "c"]
    cache.put("team-a", made_of(a_session("c", 0, 5, "another")))
    assert newest() == ["b", "d", "c"]
    broken = a_session("b", 9, 6) | {"spec": {}}
    await cache.changed("team-a", broken, False)
    assert newest() == ["d", "c"]
    await cache.listed("team-a", [a_session("e", 5)], 4)
    assert newest() == ["e", "c"]
    assert cache.named("team-a", "d") is None
