"""Each tool's most expensive legal input, while another caller polls."""

import asyncio
import json
import pickle
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp
import pytest

from agentrun.api.v1alpha1 import AgentRun
from agentrun.kube.resources import SESSIONS
from mcp_server.runs.schema_checks import AT_ONCE, WAITING, SchemaChecks
from mcp_server.schemas.arguments import InvalidArgumentsError
from tests.unit.mcp_server.cluster import session
from tests.unit.mcp_server.conftest import AnyContext, Bench

LIMIT_SECONDS = 0.2
USUAL_SECONDS = 0.03
"""What `slowness` takes on a quiet machine."""
TRIES = 4
"""A machine may be slow in any instant; a call that holds up others does so each time."""
STRING = {"type": "string"}
WORK: dict[str, Any] = {"backend": "codex", "role": "worker", "prompt": "Work."}
SCHEMAS: dict[str, dict[str, Any]] = {
    "properties": {"properties": {f"a{n}": STRING for n in range(1990)}},
    "all-of": {"allOf": [STRING] * 1990},
    "any-of": {"anyOf": [{"properties": {"a": STRING}}] * 900},
}
PARTS = {"parts": [{"type": "text", "text": "x"}] * 1000}
DEAR: list[Any] = [
    *(pytest.param("spawn_run", {**WORK, "output_schema": one}, id=f"schema-{name}")
      for name, one in SCHEMAS.items()),
    pytest.param("spawn_run", {**WORK, **{f"unknown{n}": n for n in range(10_000)}}, id="unknown"),
    pytest.param("spawn_run", {**WORK, "x" * 1_000_000: 1}, id="unknown-long"),
    pytest.param("spawn_run", {**WORK, "metadata": {str(n): n for n in range(9_900)}}, id="meta"),
    pytest.param("get_run", {"agent_name": "no-such-agent"}, id="get"),
    pytest.param("poll_events", {"agent_name": "no-such-agent", "after_seq": 0}, id="poll"),
    pytest.param("cancel_run", {"agent_name": "no-such-agent"}, id="cancel"),
    pytest.param("continue_run", {"agent_name": "nobody", "input_message": PARTS}, id="go-on"),
    pytest.param("list_runs", {"cwd": "/workspace/nowhere", "limit": 500}, id="runs"),
    pytest.param("list_agents", {"limit": 500}, id="agents"),
    pytest.param("send_agent_message", {"to_agent_name": "nobody", "message": PARTS}, id="send"),
    pytest.param("fetch_agent_messages", {"agent_name": "nobody"}, id="fetch"),
]  # fmt: skip


def slowness() -> float:
    """
    Say how many times longer the machine takes just now than the limit was set for, at least 1.

    What other machines do on the same host costs this one CPU time, up to three times as much.
    """
    begin = time.process_time()
    for _ in range(20):
        json.loads(json.dumps(SCHEMAS["properties"]))
    return max(1.0, (time.process_time() - begin) / USUAL_SECONDS)


@asynccontextmanager
async def polled(client: mcp.Client, run_id: str) -> AsyncIterator[list[float]]:
    """
    Poll all the time, and note how long each poll takes.

    In seconds of this process's CPU: what other processes take is no cost of the call.
    """
    took: list[float] = []

    async def poll() -> None:
        while True:
            begin = time.process_time()
            await client.call_tool("poll_events", {"run_id": run_id, "after_seq": 0, "wait_ms": 0})
            took.append(time.process_time() - begin)

    polling = asyncio.create_task(poll())
    try:
        while len(took) < 20:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0)
        yield took
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


@pytest.fixture
def quick_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy faster: what the fakes take for it is no cost of the product."""

    def copied(value: Any, _: Any = None) -> Any:
        return pickle.loads(pickle.dumps(value))

    monkeypatch.setattr("tests.unit.mcp_server.cluster.copy.deepcopy", copied)
    monkeypatch.setattr(AgentRun, "__deepcopy__", copied)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_copies")
@pytest.mark.parametrize(("tool", "arguments"), DEAR)
async def test_an_expensive_call_does_not_delay_other_polls(
    bench: Bench, any_context: AnyContext, tool: str, arguments: dict[str, Any]
) -> None:
    for number in range(300):
        await bench.add(SESSIONS, "team-a", session(f"agent-{number}"))
    client = bench.client
    async with mcp.Client(any_context.server) as other:
        made = await client.call_tool("spawn_run", WORK)
        assert made.structured_content is not None
        async with polled(other, made.structured_content["run_id"]) as took:
            quiet = sorted(took)[len(took) // 2]
            late: list[float] = []
            while len(late) < TRIES:
                begun = len(took)
                async with asyncio.timeout(60):
                    answer = await client.call_tool(tool, arguments)
                late.append(max(took[begun:], default=0.0) - quiet)
                if late[-1] < LIMIT_SECONDS * slowness():
                    break
            else:
                pytest.fail(f"each time, a poll took so many seconds longer: {late}")
        assert len(json.dumps(answer.model_dump(mode="json"))) < 600_000


@pytest.mark.slow
async def test_a_schema_that_takes_too_long_is_refused_and_its_process_ended() -> None:
    checks = SchemaChecks(seconds=0.05)
    with pytest.raises(InvalidArgumentsError, match="could not be checked within"):
        await checks.check(SCHEMAS["properties"])


@pytest.mark.slow
async def test_a_large_schema_is_checked_as_a_small_one_is() -> None:
    checks = SchemaChecks()
    wrong = {"properties": {f"a{n}": {"type": "thing"} for n in range(20)}}
    for schema in (wrong, {"type": "thing"}):
        with pytest.raises(
            InvalidArgumentsError, match=r"is not a valid JSON Schema: at \$\..*'thing'"
        ):
            await checks.check(schema)
    await checks.check({"properties": {f"a{n}": STRING for n in range(20)}})


@pytest.mark.slow
async def test_patterns_have_the_syntax_of_json_schema() -> None:
    checks = SchemaChecks()
    await checks.check({"pattern": r"(?<year>\d{4})-\p{L}", "patternProperties": {r"\-": STRING}})
    broken: list[dict[str, Any]] = [{"pattern": "("}, {"patternProperties": {"[": {}}}]
    for wrong in broken:
        with pytest.raises(InvalidArgumentsError, match="not a regular expression of JavaScript"):
            await checks.check(wrong)


@pytest.mark.slow
async def test_the_queue_of_schema_checks_is_bounded() -> None:
    checks = SchemaChecks(seconds=0.05)
    many = (checks.check(SCHEMAS["all-of"]) for _ in range(AT_ONCE + WAITING + 5))
    results = await asyncio.gather(*many, return_exceptions=True)
    assert sum("too many checks are" in str(one) for one in results) == 5
