"""list_agents: sessions, and the runs that stand for them."""

from typing import Any

import pytest

from agentrun.api.events import EventType
from agentrun.api.v1alpha1 import AgentRun
from agentrun.kube.errors import ApiUnavailableError
from agentrun.kube.resources import RUNS, SESSIONS
from agentrun.store.base import RunRow
from agentrun.store.paging import encode_cursor
from tests.unit.mcp_server.cluster import run, session
from tests.unit.mcp_server.conftest import Bench, eventually

HELLO = {"parts": [{"type": "text", "text": "Hi."}]}


async def names(bench: Bench, **arguments: Any) -> list[str]:
    return [one["agent_name"] for one in (await bench.call("list_agents", **arguments))["agents"]]


async def ends(bench: Bench, run_id: str, phase: str) -> None:
    bench.cluster.set_status("team-a", run_id, phase=phase)

    async def has_ended() -> bool:
        return (await bench.row(run_id)).run.phase.value == phase

    await eventually(has_ended)


async def test_without_agents_the_list_is_empty(bench: Bench) -> None:
    assert await bench.call("list_agents") == {"agents": [], "next_cursor": None}


async def test_an_agent_shows_its_run(bench: Bench) -> None:
    spawned = await bench.spawn(nickname="Ada L", role="reviewer", cwd="src")
    await bench.say(spawned["run_id"], (EventType.STATUS_CHANGED, {"status": "running"}))
    (agent,) = (await bench.call("list_agents"))["agents"]
    assert agent.pop("updated_at").endswith("Z")
    assert agent == {
        "agent_name": "ada-l",
        "display_name": "Ada L",
        "namespace": "team-a",
        "backend": "codex",
        "role": "reviewer",
        "session_id": spawned["session_id"],
        "status": "running",
        "last_run_id": spawned["run_id"],
        "last_run_status": "running",
        "cwd": "/workspace/src",
    }


async def test_an_agent_without_a_run_is_idle(bench: Bench) -> None:
    await bench.add(SESSIONS, "team-a", session("quiet"))
    (agent,) = (await bench.call("list_agents"))["agents"]
    assert (agent["status"], agent["role"], agent["last_run_id"]) == ("idle", None, None)
    assert (agent["cwd"], agent["updated_at"]) == ("/workspace", "2026-11-23T12:00:00.000Z")


async def test_an_agent_whose_run_ended_has_the_status_of_that_run(bench: Bench) -> None:
    run_id = (await bench.spawn(nickname="ada"))["run_id"]
    await ends(bench, run_id, "Failed")
    (agent,) = (await bench.call("list_agents"))["agents"]
    assert (agent["status"], agent["last_run_status"]) == ("failed", "failed")
    assert await names(bench, status="idle") == []
    assert await names(bench, status="failed") == ["ada"]
    assert await names(bench, status="completed") == []


async def test_an_active_run_represents_its_agent_before_a_newer_ended_one(
    bench: Bench,
) -> None:
    first = await bench.spawn(nickname="ada")
    await bench.add(SESSIONS, "team-a", session("other"))
    made = bench.cluster.add(
        RUNS, "team-a", run("run-x", {"phase": "Completed"}, session={"name": "ada"})
    )

    async def is_seen() -> bool:
        return await bench.store.get_run("team-a", made["metadata"]["name"]) is not None

    await eventually(is_seen)
    agents = {one["agent_name"]: one for one in (await bench.call("list_agents"))["agents"]}
    assert agents["ada"]["last_run_id"] == first["run_id"]
    assert agents["ada"]["status"] == "queued"


async def test_an_active_run_without_a_pod_is_told_apart_from_those_behind_it(
    bench: Bench,
) -> None:
    body = await bench.add(SESSIONS, "team-a", session("ada"))
    for number in range(4):
        status = {"phase": "Queued", "reason": "SessionBusy" if number else "Accepted"}
        made = bench.cluster.add(
            RUNS, "team-a", run(f"r-{number}", status, session={"name": "ada"})
        )
        await bench.store.record_run(RunRow(AgentRun.model_validate(made)))
    active = {"name": "r-0", "uid": (await bench.row("r-0")).run.metadata.uid}
    version = {"resourceVersion": str(int(body["metadata"]["resourceVersion"]) + 1000)}
    held = body | {"metadata": body["metadata"] | version, "status": {"activeRun": active}}
    bench.watched.sessions.put("team-a", held)
    (agent,) = (await bench.call("list_agents"))["agents"]
    assert (agent["last_run_id"], agent["status"]) == ("r-0", "queued")
    await ends(bench, "r-0", "Failed")
    (agent,) = (await bench.call("list_agents", status="queued"))["agents"]
    assert agent["last_run_id"] != "r-0"


async def test_a_recreated_session_does_not_show_the_runs_of_the_first(
    bench: Bench,
) -> None:
    run_id = (await bench.spawn(nickname="ada"))["run_id"]
    await ends(bench, run_id, "Completed")
    await bench.remove(SESSIONS, "team-a", "ada")
    assert await names(bench) == []
    await bench.add(SESSIONS, "team-a", session("ada"))
    (agent,) = (await bench.call("list_agents"))["agents"]
    assert (agent["last_run_id"], agent["last_run_status"]) == (None, None)


async def test_agents_are_filtered_by_kind_folder_status_and_namespace(bench: Bench) -> None:
    await bench.add(SESSIONS, "team-b", session("far"))
    await bench.add(SESSIONS, "team-a", session("claude", "claude_code"))
    await bench.spawn(nickname="ada", cwd="src")
    assert await names(bench, namespace="team-b") == ["far"]
    assert await names(bench, backend="claude_code") == ["claude"]
    assert await names(bench, cwd="/workspace/src") == ["ada"]
    assert await names(bench, cwd="src/") == ["ada"]
    assert await names(bench, cwd="elsewhere") == []
    assert await names(bench, status="queued") == ["ada"]
    assert await names(bench, status="idle") == ["claude"]


async def test_pages_of_agents_follow_one_another(bench: Bench) -> None:
    for number in range(5):
        await bench.add(SESSIONS, "team-a", session(f"agent-{number}"))
    found, cursor = [], None
    for _ in range(3):
        page = await bench.call("list_agents", limit=2, cursor=cursor)
        found += [one["agent_name"] for one in page["agents"]]
        cursor = page["next_cursor"]
    assert (found, cursor) == ([f"agent-{number}" for number in (4, 3, 2, 1, 0)], None)


async def test_a_short_page_may_have_a_cursor(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, bound in {"_LOOKED_AT_ONCE": 2, "_READ_AT_ONCE": 1, "_MOST_LOOKED_AT": 4}.items():
        monkeypatch.setattr(f"mcp_server.tools.agent_pages.{name}", bound)
    for number in range(5):
        await bench.spawn(nickname=f"agent-{number}", cwd="docs" if number == 0 else "src")
        await bench.add(SESSIONS, "team-a", session(f"quiet-{number}"))
    pages, cursor = list[list[str]](), None
    while not pages or cursor:
        page = await bench.call("list_agents", cwd="docs", cursor=cursor)
        pages.append([one["agent_name"] for one in page["agents"]])
        cursor = page["next_cursor"]
    assert [page for page in pages if page] == [["agent-0"]]
    assert [] in pages[:-1]


async def test_a_run_without_a_session_uid_does_not_belong_to_an_earlier_session(
    bench: Bench,
) -> None:
    """The earlier session's run goes on, and would stand for both."""
    await bench.spawn(nickname="ada")
    await bench.remove(SESSIONS, "team-a", "ada")
    await bench.add(SESSIONS, "team-a", session("ada"))
    status = {"phase": "Completed"}
    made = bench.cluster.add(RUNS, "team-a", run("run-x", status, session={"name": "ada"}))
    row = RunRow(AgentRun.model_validate(made))
    await bench.store.record_run(row)
    (agent,) = (await bench.call("list_agents"))["agents"]
    assert (agent["last_run_id"], agent["status"]) == ("run-x", "completed")


# What the version before gave names a time where the name is now.
BEFORE = encode_cursor((0, "2026-11-23T12:00:00.000Z", "ada"))


@pytest.mark.parametrize("cursor", ["x", "WyJhIl0=", BEFORE])
async def test_an_invalid_cursor_is_refused(bench: Bench, cursor: str) -> None:
    refusal = await bench.refused("list_agents", cursor=cursor)
    assert refusal.startswith(f"Unknown cursor: {cursor}. Give the next_cursor of an earlier")


async def test_agents_are_listed_from_the_cache_without_the_api_server(bench: Bench) -> None:
    await bench.add(SESSIONS, "team-a", session("quiet"))
    bench.cluster.begin_outage(ApiUnavailableError("connection refused"))
    (agent,) = (await bench.call("list_agents"))["agents"]
    assert agent["agent_name"] == "quiet"
    said = await bench.refused("send_agent_message", to_agent_name="quiet", message=HELLO)
    assert "Try again" in said


async def test_no_call_lists_sessions_or_profiles_from_the_api_server(bench: Bench) -> None:
    await bench.spawn(nickname="ada")
    bench.cluster.requests.clear()
    for number in range(3):
        agents = (await bench.call("list_agents"))["agents"]
        by_id = {"to_agent_name": agents[0]["session_id"], "message": HELLO}
        await bench.call("send_agent_message", **by_id)
        unknown = f"00000000-0000-4000-8000-00000000000{number}"
        assert "Unknown" in await bench.refused("fetch_agent_messages", agent_name=unknown)
        assert "Unknown" in await bench.refused("get_run", agent_name="nobody")
        refused = await bench.refused(
            "spawn_run", backend="codex", role="worker", prompt="Work.", profile="none-such"
        )
        assert "codex (codex)" in refused
    assert "list" not in {verb for verb, _ in bench.cluster.requests}
