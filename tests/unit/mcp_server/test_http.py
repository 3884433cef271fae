import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import mcp
import pytest
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette

from agentrun.kube.errors import ApiUnavailableError
from agentrun.kube.resources import PROFILES
from mcp_server.access.auth import KubernetesTokenVerifier
from mcp_server.access.policy import user_policies
from mcp_server.access.subjects import Access
from mcp_server.runs.runs import Runs
from mcp_server.server.app import build_app
from mcp_server.settings import Settings
from mcp_server.tools.context import ToolContext
from tests.memory_store import MemoryBlobStore, MemoryRunStore
from tests.unit.mcp_server.cluster import FakeCluster, profile
from tests.unit.mcp_server.conftest import cached
from tests.unit.mcp_server.test_auth import ALICE

URL = "http://agentrun-mcp.agentrun-system.svc:8080"
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
NAMES = {"mcp-method": "tools/call", "mcp-name": "list_runs"}
HEADERS = {"accept": "application/json, text/event-stream", "authorization": "Bearer token"}


def with_version(request: dict[str, Any], version: str) -> dict[str, Any]:
    """Add what protocol 2026-07-28 requires of every request."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {**request, "params": {**request["params"], "_meta": meta}}


@dataclass
class Site:
    app: Starlette
    cluster: FakeCluster
    store: MemoryRunStore
    tool_context: ToolContext
    watching: bool = True

    def client(self, **headers: str) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url=URL, headers=headers)


@asynccontextmanager
async def a_site(**settings: Any) -> AsyncIterator[Site]:
    cluster, store = FakeCluster(), MemoryRunStore()
    cluster.reviews["token"] = ALICE
    cluster.add(PROFILES, "team-a", profile())
    access = Access(groups=frozenset({"g"}))
    async with cached(cluster, store, "team-a") as watched:
        runs = Runs(cluster, store, watched)
        policies = user_policies(access, ["team-a"], runs.quarantine)
        tool_context = ToolContext(store, MemoryBlobStore(), runs, policies)
        verifier = KubernetesTokenVerifier(cluster)
        app = build_app(tool_context, verifier, Settings(**settings), lambda: site.watching)
        site = Site(app, cluster, store, tool_context)
        async with app.router.lifespan_context(app):
            yield site


async def test_a_client_calls_tools_with_its_token() -> None:
    async with (
        a_site() as site,
        site.client(authorization="Bearer token") as http,
        mcp.Client(streamable_http_client(f"{URL}/mcp", http_client=http)) as client,
    ):
        arguments = {"backend": "codex", "role": "worker", "prompt": "Work."}
        result = await client.call_tool("spawn_run", arguments)
        assert result.structured_content is not None
        row = await site.store.get_run("team-a", result.structured_content["run_id"])
        assert row is not None
        requested_by = row.run.metadata.annotations["agentrun.dev/requested-by"]
        assert requested_by == "system:serviceaccount:team-a:alice"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no-token"),
        pytest.param({"authorization": "Bearer other"}, id="unknown-token"),
        pytest.param({"authorization": "Basic token"}, id="no-bearer"),
    ],
)
async def test_requests_without_a_valid_token_are_rejected(headers: dict[str, str]) -> None:
    async with a_site(public_url="https://runs.test") as site, site.client(**headers) as http:
        answer = await http.post("/mcp", json=INITIALIZE)
        assert answer.status_code == 401
        expected = 'resource_metadata="https://runs.test/.well-known/oauth-protected-resource/mcp"'
        assert expected in answer.headers["www-authenticate"]


async def test_tokens_that_cannot_be_checked_are_answered_with_503() -> None:
    async with a_site() as site, site.client(**HEADERS) as http:
        site.cluster.outage = ApiUnavailableError("connection refused")
        answer = await http.post("/mcp", json=INITIALIZE)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "connection refused" in answer.json()["error_description"]
        site.cluster.outage = None
        assert (await http.post("/mcp", json=INITIALIZE)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="service"),
        pytest.param({"host": "127.0.0.1:18080"}, 200, id="address"),
        pytest.param({"host": "runs.test"}, 200, id="allowed"),
        pytest.param({"host": "evil.test"}, 421, id="foreign-host"),
        pytest.param({"origin": "http://localhost:6274"}, 200, id="inspector"),
        pytest.param({"origin": "https://evil.test"}, 403, id="foreign-origin"),
    ],
)
async def test_only_known_hosts_are_served(headers: dict[str, str], status: int) -> None:
    async with a_site(allowed_hosts=("runs.test",)) as site, site.client(**HEADERS) as http:
        answer = await http.post("/mcp", json=INITIALIZE, headers=headers)
        assert answer.status_code == status


async def test_probes_need_no_token() -> None:
    async with a_site() as site, site.client() as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    ("what", "why"),
    [
        pytest.param("store", "the event store cannot be read", id="store"),
        pytest.param("watch", "the runs of the cluster are not being watched", id="watch"),
        pytest.param("stop", "stopping", id="stop"),
    ],
)
async def test_an_unready_server_reports_why_and_stays_alive(what: str, why: str) -> None:
    async with a_site() as site, site.client() as http:
        site.store.failure = OSError("disk full") if what == "store" else None
        site.watching = what != "watch"
        if what == "stop":
            site.tool_context.leaving.set()
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["why"]) == (503, [why])
        assert (await http.get("/healthz")).status_code == 200


async def test_a_hanging_store_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.server.app._PROBE_SECONDS", 0)
    async with a_site() as site, site.client() as http:

        async def hang(uid: str) -> None:
            await asyncio.Event().wait()

        site.store.get_run_by_uid = hang  # type: ignore[method-assign]
        assert (await http.get("/readyz")).status_code == 503


LIST_RUNS = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "list_runs"}}


@pytest.mark.parametrize("path", ["/mcp/", "/mcp//", "/healthz/", "/readyz/"])
async def test_a_slash_at_the_end_changes_nothing(path: str) -> None:
    async with a_site() as site, site.client(**HEADERS) as http:
        method = "POST" if path.startswith("/mcp") else "GET"
        answer = await http.request(method, path, json=INITIALIZE)
        assert answer.status_code == 200
        assert "location" not in answer.headers
    async with a_site() as site, site.client() as http:
        assert (await http.post("/mcp/", json=INITIALIZE)).status_code == 401


@pytest.mark.parametrize("accept", ["application/json", "application/json;q=0.9, text/plain"])
@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
async def test_a_client_that_accepts_json_gets_json(accept: str, version: str) -> None:
    async with a_site() as site, site.client(**HEADERS | {"accept": accept}) as http:
        headers = {"mcp-protocol-version": version}
        request = with_version(LIST_RUNS, version)
        answer = await http.post("/mcp", json=request, headers=headers | NAMES)
        assert answer.headers["content-type"] == "application/json"
        result = answer.json()["result"]
        assert result["structuredContent"]["runs"] == []
        assert "isError" not in result


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
async def test_a_client_that_accepts_event_streams_gets_one(version: str) -> None:
    accept = {"accept": "text/event-stream"}
    async with a_site() as site, site.client(**HEADERS | accept) as http:
        headers = {"mcp-protocol-version": version}
        request = with_version(LIST_RUNS, version)
        answer = await http.post("/mcp", json=request, headers=headers | NAMES)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert '"structuredContent"' in answer.text


async def test_a_client_that_accepts_neither_is_rejected() -> None:
    async with a_site() as site, site.client(**HEADERS | {"accept": "text/html"}) as http:
        assert (await http.post("/mcp", json=INITIALIZE)).status_code == 406
