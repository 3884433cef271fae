"""
Agents that send very much, very fast, or while the gateway is away: the runner's limits hold.

What takes longest has a quarter of its size here, and all of it in ``make test-full``.

The runner is a process with pipes, as in a pod, and only the gateway is in memory. That the same
holds of all that is installed, tests/e2e/test_events.py tries with less.
"""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agentrun.api import pod_layout
from agentrun.api.gateway import Head
from agentrun.api.v1alpha1 import OutcomeState
from agentrun.runner.journal.sanitize import MAX_EVENT_BYTES
from dev.agent.acp_agent import large_text
from tests.events import said
from tests.unit.runner.harness import FakeGateway, Pod, a_gateway, pod
from tests.volume import (
    MEGABYTE,
    MORE_THAN_FITS,
    check_held_up,
    check_tools,
    paced,
    shown,
    watching_process,
)

pytestmark = pytest.mark.slow


class QuickGateway(FakeGateway):
    """Takes events as fast as they come: whether they are valid, other tests ask."""

    async def _append(self, request: web.Request) -> web.Response:
        events: list[dict[str, Any]] = json.loads(await request.read())["events"]
        assert events[0]["seq"] == len(self.events) + 1
        self.events += events
        return web.json_response(Head(last_seq=len(self.events)).model_dump(by_alias=True))


@asynccontextmanager
async def working(root: Path, *steps: list[Any]) -> AsyncIterator[tuple[Pod, QuickGateway]]:
    """Have a pod that completes in the end, and whose runner is held to its memory."""
    made = a_gateway(*steps)
    gateway = QuickGateway(made.spec, made.profile)
    async with (
        pod(root, gateway, is_new=True) as it,
        watching_process(it.runner.pid) as memory,
    ):
        yield it, gateway
        await it.ended(90)
    memory.check()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.COMPLETED, gateway.outcome
    assert [event["seq"] for event in gateway.events] == list(range(1, len(gateway.events) + 1))


@pytest.mark.parametrize("count", [10_000, pytest.param(40_000, marks=pytest.mark.full)])
async def test_many_concurrent_events_all_arrive_in_order(tmp_path: Path, count: int) -> None:
    async with working(tmp_path, ["pace", count, 1e9]) as (_, gateway):
        pass
    assert said(gateway.events) == paced(count)


@pytest.mark.parametrize(
    ("where", "kind", "field"),
    [
        pytest.param("message", "agent_message", "/text", id="message"),
        pytest.param("tool", "command_finished", "/output", id="tool"),
    ],
)
async def test_sixteen_megabytes_in_one_event_are_stored_completely(
    tmp_path: Path, where: str, kind: str, field: str
) -> None:
    steps = (["large", where, 16_000_000], ["say", "after"])
    async with working(tmp_path, *steps) as (_, gateway):
        pass
    [refs] = [data["artifact_refs"] for data in gateway.data(kind) if "artifact_refs" in data]
    whole = gateway.blobs[refs[field]["relpath"]]
    expected = large_text(16_000_000).encode()
    assert hashlib.sha256(whole).hexdigest() == hashlib.sha256(expected).hexdigest()
    assert max(len(json.dumps(event["data"])) for event in gateway.events) <= MAX_EVENT_BYTES
    assert said(gateway.events)[-1] == "after"


@pytest.mark.parametrize("count", [2_500, pytest.param(10_000, marks=pytest.mark.full)])
async def test_many_tool_calls_in_any_order_start_and_finish(tmp_path: Path, count: int) -> None:
    steps = (["tools", 64, MEGABYTE], ["tools", count, 100])
    async with working(tmp_path, *steps) as (_, gateway):
        pass
    check_tools(gateway.events, count)
    assert shown(gateway.events) == 64 * MEGABYTE


async def test_agent_is_paused_while_the_gateway_is_unavailable_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    steps = (["say", "before"], ["tools", MORE_THAN_FITS, MEGABYTE], ["say", "after"])
    async with working(tmp_path, *steps) as (_, gateway):
        await gateway.until(lambda: "agent_message" in gateway.types)
        gateway.away = True
        await check_held_up(tmp_path / pod_layout.SPOOL.lstrip("/") / "events")
        gateway.away = False
    assert said(gateway.events) == ["before", "after"]
    assert gateway.types.count("command_started") == gateway.types.count("command_finished")
    assert shown(gateway.events) == MORE_THAN_FITS * MEGABYTE
