"""What agents are offered of AgentRun itself, through their runners."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
import mcp
import pytest
import uvicorn
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent
from starlette.applications import Starlette

from agentrun.api.v1alpha1 import AgentRun, AgentTools, ParentRun, Phase
from agentrun.kube.resources import PROFILES, RUNS, SESSIONS
from agentrun.runner.gateway import Gateway
from agentrun.runner.mcp_relay import McpRelay, ToolCallError
from agentrun.store.base import RunFilter, RunRow
from mcp_server.access.policy import user_policies
from mcp_server.access.subjects import NOBODY
from mcp_server.gateway import build_gateway
from mcp_server.runs.runs import Runs
from mcp_server.tools.context import ToolContext
from tests.memory_store import MemoryBlobStore, MemoryRunStore
from tests.unit.mcp_server.cluster import FakeCluster, profile, run, session
from tests.unit.mcp_server.conftest import cached
from tests.unit.mcp_server.gateway.conftest import POD, the_run
from tests.unit.mcp_server.gateway.fakes import FakeAuthenticator, FakeRuns, a_profile, a_session

URL = "http://gateway"
EVERYTHING = (
    "send_agent_message", "fetch_agent_messages", "list_agents", "list_runs", "get_run",
    "poll_events", "get_event_artifact", "spawn_run", "cancel_run", "continue_run",
)  # fmt: skip


@dataclass
class Desk:
    """A gateway, and the agent of run-1 at it."""

    cluster: FakeCluster
    store: MemoryRunStore
    runs: FakeRuns
    client: mcp.Client
    http: httpx2.AsyncClient
    app: Starlette

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        assert isinstance(result.structured_content, dict)
        return result.structured_content

    async def refused(self, tool: str, **arguments: Any) -> str:
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        (content,) = result.content
        assert isinstance(content, TextContent)
        return content.text

    async def spawn(self, **more: Any) -> dict[str, Any]:
        given = {"backend": "codex", "role": "worker", "prompt": "Help.", **more}
        return await self.call("spawn_run", **given)

    async def row(self, name: str) -> RunRow:
        row = await self.store.get_run("team", name)
        assert row is not None
        return row

    async def know(self, manifest: dict[str, Any]) -> None:
        await self.store.record_run(RunRow(AgentRun.model_validate(manifest)))

    async def have(self, name: str, **spec: Any) -> str:
        """Have a run in cluster and store; return its uid."""
        manifest = self.cluster.add(RUNS, "team", run(name, **spec))
        await self.know(manifest)
        return str(manifest["metadata"]["uid"])

    def make_resumable(self, name: str) -> None:
        """Let a session have something that could be gone on with."""
        self.cluster.objects["agentsessions", "team", name]["status"] = {"snapshot": "u/s"}

    async def see(self, own: AgentRun) -> None:
        self.runs.put(own)
        await self.store.record_run(RunRow(own, "session-1"))


@asynccontextmanager
async def a_desk(*allowed: str, **children: Any) -> AsyncIterator[Desk]:
    cluster, store, runs = FakeCluster(), MemoryRunStore(), FakeRuns()
    offered = a_profile()
    offered.spec.agent_tools = AgentTools.model_validate(
        {"allowed": list(allowed), "children": children}
    )
    runs.profiles["codex"] = offered
    runs.sessions["run-1"] = a_session("run-1", "session-1")
    for name in ("codex", "other"):
        cluster.add(PROFILES, "team", profile(name))
    for name in ("run-1", "bob"):
        cluster.add(SESSIONS, "team", session(name))
    async with cached(cluster, store, "team") as watched:
        of_cluster = Runs(cluster, store, watched)
        policies = user_policies(NOBODY, ["team"], of_cluster.quarantine)
        tool_context = ToolContext(store, MemoryBlobStore(), of_cluster, policies)
        app = build_gateway(
            store,
            tool_context.blobs,
            runs,
            FakeAuthenticator(),
            tool_context.stopping,
            tool_context,
        )
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {POD}"}
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url=URL, headers=headers) as http,
        ):
            await store.record_run(RunRow(the_run(), "session-1"))
            runs.put(the_run())
            connection = streamable_http_client(f"{URL}/v1/mcp", http_client=http)
            async with mcp.Client(connection) as client:
                yield Desk(cluster, store, runs, client, http, app)


async def test_an_agent_is_offered_what_its_profile_allows() -> None:
    async with a_desk("list_agents", "send_agent_message") as desk:
        listed = await desk.client.list_tools()
        assert {tool.name for tool in listed.tools} == {"list_agents", "send_agent_message"}
        told = await desk.refused("spawn_run", backend="codex", role="worker", prompt="x")
        assert "Profile codex does not allow tool spawn_run" in told
        assert "Allowed: list_agents, send_agent_message." in told


async def test_an_agent_writes_in_its_own_name_only() -> None:
    message = {"role": "agent", "parts": [{"type": "text", "text": "Hello."}]}
    async with a_desk(*EVERYTHING) as desk:
        await desk.call("send_agent_message", to_agent_name="bob", message=message)
        uid = desk.cluster.objects["agentsessions", "team", "bob"]["metadata"]["uid"]
        (sent,) = await desk.store.messages.fetch(uid, 0, 9)
        assert sent.sent.from_agent_name == "run-1"
        told = await desk.refused(
            "send_agent_message", to_agent_name="run-1", from_agent_name="bob", message=message
        )
        assert "You are run-1, not bob." in told


async def test_an_agent_reads_its_own_mailbox_only() -> None:
    async with a_desk(*EVERYTHING) as desk:
        assert (await desk.call("fetch_agent_messages"))["agent_name"] == "run-1"
        assert "You are run-1, not bob." in await desk.refused(
            "fetch_agent_messages", agent_name="bob"
        )


async def test_an_agent_cannot_use_another_namespace() -> None:
    async with a_desk(*EVERYTHING) as desk:
        told = await desk.refused("list_runs", namespace="elsewhere")
        assert "Yours is team" in told


async def test_a_child_knows_its_parent() -> None:
    async with a_desk(*EVERYTHING) as desk:
        child = (await desk.row((await desk.spawn())["run_id"])).run
        assert child.spec.parent == ParentRun(name="run-1", uid="uid-1", depth=1)
        assert child.metadata.annotations["agentrun.dev/requested-by"] == "run/run-1"
        assert child.spec.profile == "codex"


@pytest.mark.parametrize(
    ("profiles", "asked", "why"),
    [
        ([], "other", "Give one of these as profile, with its backend: codex."),
        (["other"], "codex", "Give one of these as profile, with its backend: other."),
    ],
)
async def test_a_child_uses_a_profile_that_its_parents_names(
    profiles: list[str], asked: str, why: str
) -> None:
    async with a_desk(*EVERYTHING, profiles=profiles) as desk:
        told = await desk.refused(
            "spawn_run", backend="codex", role="worker", prompt="x", profile=asked
        )
        assert why in told


async def test_a_child_works_on_its_parents_repository_or_those_of_the_profile() -> None:
    given = {"backend": "codex", "role": "worker", "prompt": "x"}
    listed = ["https://git.test/shared"]
    async with a_desk("spawn_run", repositories=listed) as desk:
        for url in ("https://git.test/other.git", "https://git.test/shared/../other.git"):
            told = await desk.refused("spawn_run", **given, workspace={"git": {"url": url}})
            assert f"does not allow you to start runs on repository {url}" in told
        await desk.spawn(workspace={"git": {"url": "https://git.test/shared/a.git"}})


async def test_the_depth_of_children_is_limited() -> None:
    async with a_desk(*EVERYTHING, max_depth=2) as desk:
        await desk.spawn()
        own = the_run()
        own.spec.parent = ParentRun(name="run-0", uid="uid-0", depth=2)
        own.metadata.resource_version = "99"
        await desk.see(own)
        told = await desk.refused("spawn_run", backend="codex", role="worker", prompt="x")
        assert "allows 2 generations" in told


async def test_deleted_and_concurrently_requested_children_are_counted() -> None:
    async with a_desk(*EVERYTHING, max_count=3) as desk:
        first = await desk.spawn(idempotency_key="a")
        desk.cluster.remove(RUNS, "team", first["run_id"])
        given = {"backend": "codex", "role": "worker", "prompt": "x"}
        results = await asyncio.gather(
            *(desk.client.call_tool("spawn_run", given) for _ in range(5))
        )
        assert [one.is_error for one in results].count(False) == 2
        assert "You have started 3 runs" in str(next(r for r in results if r.is_error).content)
        # The same request again is no further run.
        assert (await desk.spawn(idempotency_key="a"))["run_id"] == first["run_id"]


async def test_children_that_another_replica_creates_concurrently_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spawn = Runs.spawn

    async def at_once(runs: Runs, *given: Any, **more: Any) -> RunRow:
        parent = {"name": "run-1", "uid": "uid-1", "depth": 1}
        await desk.know(desk.cluster.add(RUNS, "team", run("elsewhere", parent=parent)))
        return await spawn(runs, *given, **more)

    async with a_desk(*EVERYTHING, max_count=1) as desk:
        monkeypatch.setattr(Runs, "spawn", at_once)
        told = await desk.refused("spawn_run", backend="codex", role="worker", prompt="x")
        assert "You have started 1 runs, the maximum" in told
        made = {
            name: one
            for (kind, _, name), one in desk.cluster.objects.items()
            if kind == "agentruns"
        }
        assert made.pop("elsewhere")["spec"].get("desiredState") != "Cancelled"
        (mine,) = made.values()
        assert mine["spec"]["desiredState"] == "Cancelled"


async def test_children_are_counted_by_one_query_whatever_the_number_of_other_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_desk("spawn_run", max_count=1) as desk:
        for number in range(300):
            await desk.have(f"other-{number}", parent=a_parent("bob"))
        asked = list[str]()
        for name in ("list_runs", "changed_runs", "open_runs", "count_children"):
            monkeypatch.setattr(desk.store, name, noting(asked, getattr(desk.store, name)))
        await desk.spawn()
        told = await desk.refused("spawn_run", backend="codex", role="worker", prompt="x")
        assert "You have started 1 runs" in told
        # Before the first is made, and after; before the second.
        assert asked == ["count_children"] * 3


async def test_the_parents_of_runs_are_read_once_whatever_the_number_of_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_desk("list_runs") as desk:
        parent = a_parent("bob") | {"uid": await desk.have("bob")}
        for number in range(40):
            await desk.have(f"other-{number}", parent=parent)
        asked = list[str]()
        monkeypatch.setattr(desk.store, "get_run_by_uid", noting(asked, desk.store.get_run_by_uid))
        assert [one["run_id"] for one in (await desk.call("list_runs"))["runs"]] == []
        assert len(asked) < 10


def a_parent(name: str, depth: int = 1) -> dict[str, Any]:
    return {"name": f"run-{name}", "uid": f"uid-{name}", "depth": depth}


def noting(asked: list[str], method: Any) -> Any:
    async def noted(*given: Any) -> Any:
        asked.append(method.__name__)
        return await method(*given)

    return noted


async def test_an_agent_uses_only_descendants_of_its_own_run() -> None:
    async with a_desk(*EVERYTHING, max_depth=3) as desk:
        child = (await desk.spawn())["run_id"]
        uid = (await desk.row(child)).run.metadata.uid
        parent = {"name": child, "uid": uid, "depth": 2}
        made = {
            name: desk.cluster.add(RUNS, "team", run(name, **spec))
            for name, spec in {"grandchild": {"parent": parent}, "foreign": {}}.items()
        }
        for manifest in made.values():
            await desk.store.record_run(RunRow(AgentRun.model_validate(manifest)))
        for name in (child, "grandchild"):
            assert (await desk.call("get_run", run_id=name))["run_id"] == name
        for name in ("foreign", "run-1"):
            for tool in ("get_run", "cancel_run"):
                told = await desk.refused(tool, run_id=name)
                assert f"Run {name} was not started by your run" in told
        assert (await desk.call("cancel_run", run_id=child, wait_ms=0))["status"] == "cancelling"


async def test_an_agent_sees_only_descendants_of_its_own_run() -> None:
    async with a_desk(*EVERYTHING) as desk:
        child = (await desk.spawn())["run_id"]
        foreign = desk.cluster.add(RUNS, "team", run("foreign"))
        await desk.store.record_run(RunRow(AgentRun.model_validate(foreign)))
        assert [one["run_id"] for one in (await desk.call("list_runs"))["runs"]] == [child]


def asking(kind: str | None) -> dict[str, Any]:
    question = {"id": f"{kind}-1-1", "kind": kind, "text": "May I?"} if kind else None
    return {"state": "InputRequired", "question": question}


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("permission", "requires an answer from a person: May I? You cannot give it."),
        ("auth", "requires an answer from a person: May I? You cannot give it."),
        (None, "is not known yet. Try again"),
    ],
)
async def test_an_agent_does_not_grant_permissions_in_a_persons_place(
    kind: str | None, why: str
) -> None:
    answer = {"role": "user", "parts": [{"type": "text", "text": "allow"}]}
    async with a_desk(*EVERYTHING) as desk:
        child = (await desk.spawn())["run_id"]
        waits: dict[str, Any] = {"phase": "InputRequired", "agent": asking(kind)}
        await desk.know(desk.cluster.set_status("team", child, **waits))
        told = await desk.refused("continue_run", run_id=child, input_message=answer)
        assert why in told
        assert not desk.cluster.objects["agentruns", "team", child]["spec"].get("inputs")


async def test_an_agent_answers_questions_of_its_child_runs() -> None:
    answer = {"role": "user", "parts": [{"type": "text", "text": "the first"}]}
    async with a_desk(*EVERYTHING) as desk:
        child = (await desk.spawn())["run_id"]
        waits: dict[str, Any] = {"phase": "InputRequired", "agent": asking("input")}
        await desk.know(desk.cluster.set_status("team", child, **waits))
        told = await desk.call("continue_run", run_id=child, input_message=answer, wait_ms=0)
        assert (told["run_id"], told["mode"]) == (child, "live")


MORE = {"role": "user", "parts": [{"type": "text", "text": "And now?"}]}


async def test_an_agent_cannot_continue_a_run_with_a_profile_that_it_may_not_use() -> None:
    async with a_desk(*EVERYTHING, max_depth=3) as desk:
        child = (await desk.spawn())["run_id"]
        uid = (await desk.row(child)).run.metadata.uid
        parent = {"name": child, "uid": uid, "depth": 2}
        spec: dict[str, Any] = {"parent": parent, "profile": "other"}
        grandchild = run("grandchild", {"phase": "Completed"}, **spec)
        await desk.know(desk.cluster.add(RUNS, "team", grandchild))
        for more in ({}, {"from_start": True}):
            told = await desk.refused(
                "continue_run", run_id="grandchild", input_message=MORE, **more
            )
            assert "does not allow you to start runs with profile other" in told


async def test_an_agent_cannot_continue_a_conversation_that_somebody_else_continued() -> None:
    async with a_desk(*EVERYTHING) as desk:
        child = await desk.spawn()
        await desk.know(desk.cluster.set_status("team", child["run_id"], phase="Completed"))
        taken = run("taken", session={"mode": "resume", "name": child["agent_name"]})
        await desk.know(desk.cluster.add(RUNS, "team", taken))
        told = await desk.refused("continue_run", run_id=child["run_id"], input_message=MORE)
        assert "is not one of yours" in told


async def test_repeating_a_continuation_does_not_count_against_the_limit() -> None:
    async with a_desk(*EVERYTHING, max_count=2) as desk:
        child = (await desk.spawn())["run_id"]
        await desk.know(desk.cluster.set_status("team", child, phase="Completed"))
        given = {"run_id": child, "from_start": True, "idempotency_key": "again"}
        first = await desk.call("continue_run", **given)
        assert await desk.call("continue_run", **given) == first
        told = await desk.refused("continue_run", **given | {"idempotency_key": "more"})
        assert "You have started 2 runs" in told


async def test_an_agent_cannot_resume_a_conversation_of_others() -> None:
    async with a_desk(*EVERYTHING) as desk:
        foreign = desk.cluster.add(RUNS, "team", run("foreign", session={"name": "bob"}))
        await desk.store.record_run(RunRow(AgentRun.model_validate(foreign)))
        given = {"backend": "codex", "role": "worker", "prompt": "x", "session_mode": "resume"}
        told = await desk.refused("spawn_run", **given, session_id="bob")
        assert "Session bob is not one of yours" in told


RESUME: dict[str, Any] = {
    "backend": "codex", "role": "worker", "prompt": "x", "session_mode": "resume",
}  # fmt: skip


async def test_a_foreign_run_is_detected_whatever_the_number_of_later_own_runs() -> None:
    async with a_desk(*EVERYTHING, max_count=1000) as desk:
        own = a_parent("1")
        talk = {"name": "bob", "mode": "resume"}
        await desk.have("foreign", session={"name": "bob"})
        for number in range(300):
            await desk.have(f"mine-{number:03}", parent=own, session=talk)
        desk.make_resumable("bob")
        # The foreign one is the oldest: a list of the newest runs does not show it.
        newest = await desk.store.list_runs(RunFilter(session_name="bob"), 100)
        assert all(row.run.spec.parent for row in newest.rows)
        told = await desk.refused("spawn_run", **RESUME, session_id="bob")
        assert "Session bob is not one of yours" in told


async def test_an_agent_cannot_resume_a_conversation_without_a_known_owner() -> None:
    async with a_desk(*EVERYTHING) as desk:
        desk.make_resumable("bob")
        told = await desk.refused("spawn_run", **RESUME, session_id="bob")
        assert "Session bob is not one of yours" in told


async def test_a_conversation_with_runs_of_descendants_is_still_the_agents_own() -> None:
    async with a_desk(*EVERYTHING, max_depth=16) as desk:
        above = await desk.have("one", parent=a_parent("1"))
        for number in range(32):
            parent = {"name": "one", "uid": above, "depth": 2}
            uid = await desk.have(f"child-{number}", parent=parent)
            parent = {"name": f"child-{number}", "uid": uid, "depth": 3}
            await desk.have(f"talk-{number}", parent=parent, session={"name": "bob"})
        desk.make_resumable("bob")
        assert (await desk.call("spawn_run", **RESUME, session_id="bob"))["agent_name"] == "bob"
        told = await desk.refused("spawn_run", **RESUME, session_id="bob")
        assert "Session bob has had runs of more than 32 agents" in told


async def test_requests_that_are_not_from_a_current_runner_are_rejected() -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    async with a_desk(*EVERYTHING) as desk:
        desk.http.headers["accept"] = "application/json, text/event-stream"
        assert (await desk.http.post("/v1/mcp", json=body)).status_code == 200
        for token, status in (("x", 401), ("team/run-1-2/pod-2", 403)):
            headers = {"authorization": f"Bearer {token}"}
            assert (
                await desk.http.post("/v1/mcp", json=body, headers=headers)
            ).status_code == status
        too_large = {**body, "params": {"x": "x" * 1024 * 1024}}
        assert (await desk.http.post("/v1/mcp", json=too_large)).status_code == 413
        await desk.see(the_run(phase=Phase.COMPLETED))
        assert (await desk.http.post("/v1/mcp", json=body)).status_code == 410


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_agent_calls_tools_through_its_runner(
    tmp_path: Path, mode: Literal["auto", "legacy"]
) -> None:
    """From an MCP client through the runner's relay to the gateway, over real sockets."""
    token = tmp_path / "token"
    token.write_text(POD)
    async with a_desk(*EVERYTHING) as desk:
        config = uvicorn.Config(desk.app, port=0, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        listening = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve([listening]))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with Gateway(url, token, lambda _: None) as gateway:
            tools = McpRelay(gateway)
            async with (
                tools.serve(0, "/secret/mcp") as relay,
                mcp.Client(relay, mode=mode) as client,
            ):
                listed = {tool.name for tool in (await client.list_tools()).tools}
                assert listed == set(EVERYTHING)
                heard: list[float] = []

                async def note(progress: float, total: float | None, message: str | None) -> None:
                    heard.append(progress)

                child = (await desk.spawn())["run_id"]
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("mcp_server.tools.events.PROGRESS_SECONDS", 0.02)
                    waits = {"run_id": child, "after_seq": 0, "wait_ms": 100}
                    polled = await client.call_tool("poll_events", waits, progress_callback=note)
                assert not polled.is_error
                assert heard, "what comes before the answer is passed on"
            assert (await tools.call("fetch_agent_messages", {}))["agent_name"] == "run-1"
            with pytest.raises(ToolCallError, match="Call list_agents"):
                await tools.call(
                    "fetch_agent_messages", {"agent_name": "run-1", "cwd": "/workspace/x"}
                )
        server.should_exit = True
        await serving
