"""Runs, journals and profiles as resources, and hearing of their changes."""

import asyncio
import json
from typing import Any

import mcp
import pytest
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types import TextResourceContents

from agentrun.api.events import EventType
from agentrun.kube.resources import PROFILES
from mcp_server.server.app import build_server
from mcp_server.server.resources import run_of
from tests.unit.mcp_server.cluster import profile
from tests.unit.mcp_server.conftest import Bench


async def read(bench: Bench, uri: str) -> dict[str, Any]:
    result = await bench.client.read_resource(uri)
    (content,) = result.contents
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == "application/json"
    found: dict[str, Any] = json.loads(content.text)
    return found


async def refused(bench: Bench, uri: str) -> str:
    with pytest.raises(MCPError) as raised:
        await bench.client.read_resource(uri)
    return str(raised.value)


async def test_a_run_resource_equals_the_result_of_get_run(bench: Bench) -> None:
    run_id = (await bench.spawn())["run_id"]
    shown = await read(bench, f"agentrun://team-a/runs/{run_id}")
    assert shown == await bench.call("get_run", run_id=run_id)


async def test_a_journal_resource_has_the_last_events_or_those_after_a_number(bench: Bench) -> None:
    run_id = (await bench.spawn())["run_id"]
    said = [(EventType.AGENT_MESSAGE, {"text": f"Message {number}"}) for number in range(150)]
    await bench.say(run_id, *said)
    uri = f"agentrun://team-a/runs/{run_id}/journal"
    last = await read(bench, uri)
    assert [event["seq"] for event in last["events"]] == list(range(51, 151))
    assert (last["next_after_seq"], last["last_seq"], last["status"]) == (150, 150, "queued")
    some = await read(bench, f"{uri}?after_seq=3&limit=2")
    assert [event["seq"] for event in some["events"]] == [4, 5]
    assert some["next_after_seq"] == 5
    polled = await bench.call("poll_events", run_id=run_id, after_seq=3, limit=2)
    assert polled["events"] == some["events"]


async def test_profiles_are_listed_with_their_models(bench: Bench) -> None:
    await bench.add(
        PROFILES,
        "team-a",
        profile("big", description="For hard things.", models={"allowed": ["m1"]}),
    )
    listed = (await read(bench, "agentrun://team-a/profiles"))["profiles"]
    assert [one["name"] for one in listed] == ["big", "codex"]
    assert listed[0]["description"] == "For hard things."
    assert listed[0]["models"]["allowed"] == ["m1"]
    assert listed[0]["backend"] == "codex"


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("agentrun://team-a/runs/nope", "Unknown run_id: nope. Call list_runs"),
        ("agentrun://elsewhere/runs/nope", "Namespace elsewhere is not served here."),
        ("agentrun://elsewhere/profiles", "Namespace elsewhere is not served here."),
        ("agentrun://team-a/runs/nope/journal", "Unknown run_id: nope."),
        ("other://team-a", "Unknown resource"),
    ],
)
async def test_a_missing_resource_is_reported_like_by_a_tool(
    bench: Bench, uri: str, why: str
) -> None:
    assert why in await refused(bench, uri)


@pytest.mark.parametrize("query", ["after_seq=x", "limit=-1", "limit=1e3"])
async def test_an_invalid_event_number_is_refused(bench: Bench, query: str) -> None:
    run_id = (await bench.spawn())["run_id"]
    told = await refused(bench, f"agentrun://team-a/runs/{run_id}/journal?{query}")
    assert "must be a whole number" in told


@pytest.mark.parametrize(
    ("uri", "run"),
    [
        ("agentrun://a/runs/b", ("a", "b")),
        ("agentrun://a/runs/b/journal", ("a", "b")),
        ("agentrun://a/runs/b/journal?after_seq=1", ("a", "b")),
        ("agentrun://a/profiles", None),
        ("agentrun://a/runs/b/c", None),
    ],
)
def test_a_uri_names_its_run(uri: str, run: tuple[str, str] | None) -> None:
    assert run_of(uri) == run


async def test_subscribers_are_notified_of_changes_whoever_makes_them(bench: Bench) -> None:
    run_id = (await bench.spawn())["run_id"]
    uri = f"agentrun://team-a/runs/{run_id}/journal"
    async with (
        asyncio.timeout(20),
        mcp.Client(build_server(bench.tool_context), mode="2026-07-28") as client,
        client.listen(resource_subscriptions=[uri]) as updates,
    ):
        heard = aiter(updates)
        await bench.say(run_id, (EventType.AGENT_MESSAGE, {"text": "Hello."}))
        assert str((await anext(heard)).uri) == uri  # type: ignore[union-attr]
        bench.cluster.set_status("team-a", run_id, phase="Completed")
        assert str((await anext(heard)).uri) == uri  # type: ignore[union-attr]


async def test_older_clients_get_an_error_when_they_subscribe(bench: Bench) -> None:
    run_id = (await bench.spawn())["run_id"]
    async with mcp.Client(build_server(bench.tool_context), mode="legacy") as client:
        capabilities = client.server_capabilities
        assert capabilities is not None
        assert capabilities.resources is not None
        assert not capabilities.resources.subscribe
        with (
            pytest.raises(MCPError, match="Method not found"),
            pytest.warns(MCPDeprecationWarning, match="Client.listen"),
        ):
            await client.session.subscribe_resource(f"agentrun://team-a/runs/{run_id}")


async def test_subscriptions_to_missing_or_too_many_runs_are_refused(bench: Bench) -> None:
    async with mcp.Client(build_server(bench.tool_context), mode="2026-07-28") as client:
        for uris, why in (
            (["agentrun://team-a/runs/nope"], "Unknown run_id: nope"),
            ([f"agentrun://team-a/runs/{n}" for n in range(65)], "exceed the limit of 64"),
        ):
            with pytest.raises(MCPError, match=why):
                async with client.listen(resource_subscriptions=uris):
                    raise AssertionError("it is refused")


async def test_prompts_name_the_tools_to_call(bench: Bench) -> None:
    listed = {one.name for one in (await bench.client.list_prompts()).prompts}
    assert listed == {"plan", "implement", "review"}
    given = {"task": "Fix it.", "repository": "https://git.test/x.git", "ref": "v1"}
    for name, role in (("plan", "planner"), ("implement", "worker"), ("review", "reviewer")):
        result = await bench.client.get_prompt(name, {**given, "backend": "claude_code"})
        (message,) = result.messages
        text = getattr(message.content, "text", "")
        assert "Fix it." in text
        assert f"Call spawn_run with backend claude_code, role {role}," in text
        assert '{"git": {"url": "https://git.test/x.git", "ref": "v1"}}' in text
        assert "poll_events" in text


async def test_a_waiting_client_gets_progress_notifications(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("events", "runs"):
        monkeypatch.setattr(f"mcp_server.tools.{module}.PROGRESS_SECONDS", 0.01)
    run_id = (await bench.spawn())["run_id"]
    heard: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    waits = {"run_id": run_id, "wait_ms": 300}
    for tool, arguments in (("poll_events", {**waits, "after_seq": 0}), ("cancel_run", waits)):
        heard.clear()
        await bench.client.call_tool(tool, arguments, progress_callback=note)
        assert len(heard) > 1
        assert [one[0] for one in heard] == sorted(one[0] for one in heard)
        assert heard[0][1] == 0.3
        assert run_id in (heard[0][2] or "")
