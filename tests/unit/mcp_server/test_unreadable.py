"""Runs, requests and rows that cannot be read: they end nothing but themselves."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from mcp.shared.exceptions import MCPError

from agentrun.api.v1alpha1 import AgentRun
from agentrun.kube.resources import PROFILES, RUNS, SESSIONS
from agentrun.store.base import RunFilter
from mcp_server.watches.run_sync import RunSync
from tests.memory_store import MemoryRunStore
from tests.objects import QUIETLY, nested, objects
from tests.unit.mcp_server.cluster import FakeCluster, profile, run, session
from tests.unit.mcp_server.conftest import Bench, eventually
from tests.unit.mcp_server.test_continue_run import WAITS, in_phase
from tests.unit.mcp_server.test_http import a_site
from tests.unit.mcp_server.test_run_sync import until_phase

ODD: dict[str, dict[str, Any]] = {
    "deep": {"metadata": nested(205)},
    "deeper": {"metadata": nested(270)},
    "nul": {"workspace": {"cwd": "a\0b"}},
    "no-run": {"backend": "unheard-of"},
}


async def listed(bench: Bench) -> list[str]:
    return [one["run_id"] for one in (await bench.call("list_runs"))["unreadable"]]


@pytest.mark.parametrize("key", list(ODD))
async def test_an_unreadable_run_is_reported_until_it_is_deleted_and_others_proceed(
    bench: Bench, key: str
) -> None:
    bench.cluster.add(RUNS, "team-a", run("odd", **ODD[key]))
    bench.cluster.add(RUNS, "team-a", run("good"))
    await until_phase(bench, "good", "Queued")
    assert await listed(bench) == ["odd"]
    assert "agentruns team-a/odd" in bench.run_sync.quarantine.describe()
    found = {one["run_id"]: one for one in (await bench.call("list_runs"))["runs"]}
    assert found["good"]["unreadable"] is None
    if "odd" in found:
        assert found["odd"]["unreadable"]
    # Also when all is listed anew.
    bench.cluster.forget_history()
    bench.cluster.add(RUNS, "team-a", run("later"))
    await until_phase(bench, "later", "Queued")
    assert await listed(bench) == ["odd"]
    bench.cluster.remove(RUNS, "team-a", "odd")

    async def is_forgotten() -> bool:
        return await listed(bench) == []

    await eventually(is_forgotten)
    assert bench.run_sync.is_ready


async def test_an_unexpected_error_is_an_outage_of_one_namespace(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(run_sync: RunSync, namespace: str, items: list[Any], version: int) -> Any:
        if namespace == "team-b":
            raise LookupError("nobody expects this")
        return take(run_sync, namespace, items, version)

    take = RunSync.listed
    monkeypatch.setattr(RunSync, "listed", fail)
    bench.cluster.forget_history()
    bench.cluster.add(RUNS, "team-a", run())
    await until_phase(bench, "run-1", "Queued")

    async def is_told() -> bool:
        return "nobody expects this" in caplog.text and not bench.run_sync.is_ready

    await eventually(is_told)
    assert "Traceback" in caplog.text
    monkeypatch.undo()

    async def is_ready() -> bool:
        return bench.run_sync.is_ready

    await eventually(is_ready)


@pytest.mark.parametrize("depth", [61, 150, 194])
async def test_a_too_deeply_nested_answer_is_refused_with_its_path(
    bench: Bench, depth: int
) -> None:
    run_id = await in_phase(bench, **WAITS)
    message = {"parts": [{"type": "data", "data": nested(depth)}]}
    said = await bench.refused("continue_run", run_id=run_id, input_message=message)
    assert "input_message.parts.0.data.a" in said
    assert "nested deeper than 64 levels" in said
    assert (await bench.call("get_run", run_id=run_id))["status"] == "input_required"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"cwd": "a\0b"}, id="cwd"),
        pytest.param({"prompt": "a\0b"}, id="prompt"),
        pytest.param({"metadata": {"a\0": 1}}, id="name"),
        pytest.param({"metadata": nested(70)}, id="deep"),
        pytest.param({"metadata": json.dumps(nested(70))}, id="deep-in-a-text"),
        pytest.param({"output_schema": nested(70)}, id="schema"),
        pytest.param({"backend_config": {"x": ["\0"]}}, id="backend-config"),
    ],
)
async def test_a_request_that_cannot_be_stored_is_refused(
    bench: Bench, arguments: dict[str, Any]
) -> None:
    said = await bench.refused(
        "spawn_run", **{"backend": "codex", "role": "worker", "prompt": "Work."} | arguments
    )
    assert "NUL" in said or "deeper than 64" in said


async def test_the_limits_apply_to_other_requests_too(bench: Bench) -> None:
    with pytest.raises(MCPError, match="NUL"):
        await bench.client.read_resource("agentrun://runs/a\0b")


async def test_an_unreadable_session_or_profile_hides_no_others(bench: Bench) -> None:
    for resource, good, odd in (
        (SESSIONS, session("good"), session("odd", backend="unheard-of")),
        (PROFILES, profile("good"), profile("odd", backend="unheard-of")),
    ):
        bench.cluster.add(resource, "team-a", odd)
        await bench.add(resource, "team-a", good)
    agents = (await bench.call("list_agents"))["agents"]
    assert [agent["agent_name"] for agent in agents] == ["good"]
    said = await bench.refused("spawn_run", backend="codex", role="worker", prompt="x", profile="x")
    assert "good (codex)" in said
    describe = bench.run_sync.quarantine.describe()
    assert "agentsessions team-a/odd" in describe
    assert "agentprofiles team-a/odd" in describe


async def test_readyz_lists_unreadable_objects_and_stays_ready() -> None:
    async with a_site() as site, site.client() as http:
        made = site.cluster.add(RUNS, "team-a", run("odd", metadata=nested(205)))
        await site.tool_context.runs.find("team-a", "odd")
        answer = await http.get("/readyz")
        assert answer.status_code == 200
        assert "agentruns team-a/odd" in answer.json()["note"]
        assert made["metadata"]["uid"]


@pytest.mark.slow
async def test_whatever_the_schema_allows_is_recorded_or_quarantined() -> None:
    @QUIETLY
    @given(objects("agentruns"))
    def record(made: dict[str, Any]) -> None:
        asyncio.run(take(made))

    async def take(made: dict[str, Any]) -> None:
        store = MemoryRunStore()
        run_sync = RunSync(FakeCluster(), store, ["team-a"])
        meta = {"namespace": "team-a", "resourceVersion": "1"}
        await run_sync.observe({"metadata": {**meta, "name": "odd", "uid": "o"}, **made})
        good = {**run("good"), "metadata": {**meta, "name": "good", "uid": "g"}}
        assert await run_sync.observe(good) is not None
        rows = (await store.list_runs(RunFilter(), 10)).rows
        assert "good" in [row.run.metadata.name for row in rows]
        for row in rows:
            AgentRun.model_validate_json(json.dumps(row.run.to_json()))

    await asyncio.to_thread(record)
