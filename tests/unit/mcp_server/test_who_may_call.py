"""
The table of who may call what: each route, method, tool, resource and prompt that is there.

What has no row fails: whoever adds something says here who may call it. Everything is called as
nobody (without a token), as a stranger (a ServiceAccount that nobody has let in), as a client
that is let in, and as an agent (with the token of its run's pod).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx2
from starlette.applications import Starlette
from starlette.routing import Route

from agentrun.api.gateway import TOKEN_AUDIENCE
from agentrun.api.v1alpha1 import AgentRun, AgentTools
from agentrun.kube.resources import PROFILES, RUNS, SESSIONS
from agentrun.store.base import RunRow
from mcp_server.access.auth import AUDIENCE, KubernetesTokenVerifier
from mcp_server.access.policy import user_policies
from mcp_server.access.subjects import ServiceAccount, access_of
from mcp_server.gateway import build_gateway
from mcp_server.gateway.auth import TokenReviewAuthenticator
from mcp_server.http.guard import Guard
from mcp_server.runs.runs import Runs
from mcp_server.server.app import build_app, build_server
from mcp_server.settings import Settings
from mcp_server.tools.context import ToolContext
from tests.memory_store import MemoryBlobStore, MemoryRunStore
from tests.unit.mcp_server.cluster import FakeCluster, profile, run, session
from tests.unit.mcp_server.conftest import cached
from tests.unit.mcp_server.gateway.conftest import the_run
from tests.unit.mcp_server.gateway.fakes import FakeRuns, a_profile, a_session

Json = dict[str, Any]
OLD, NEW = "2025-06-18", "2026-07-28"
NOBODY, STRANGER, CLIENT, AGENT = "", "stranger", "client", "agent"
FOREIGN_POD = "foreign-pod"
"""The token of a pod that is no run's, for the gateway."""
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHERS = "run-2"
"""A run that is not below that of the agent."""
MESSAGE = {"role": "user", "parts": [{"type": "text", "text": "Hello."}]}

ROUTES = {
    "/mcp": "closed",
    "/healthz": "open",
    "/readyz": "open",
    "/.well-known/oauth-protected-resource/mcp": "open",
}
"""Port 8080, by path."""

METHODS: dict[str, tuple[str, Json]] = {
    "initialize": (
        OLD,
        {
            "protocolVersion": OLD,
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    ),
    "ping": (OLD, {}),
    "server/discover": (NEW, {}),
    "tools/list": (OLD, {}),
    "tools/call": (OLD, {"name": "list_runs", "arguments": {}}),
    "resources/list": (OLD, {}),
    "resources/templates/list": (OLD, {}),
    "resources/read": (OLD, {"uri": f"agentrun://team/runs/{OTHERS}"}),
    "prompts/list": (OLD, {}),
    "prompts/get": (OLD, {"name": "plan", "arguments": {"task": "Think."}}),
    "subscriptions/listen": (
        NEW,
        {"notifications": {"resourceSubscriptions": [f"agentrun://team/runs/{OTHERS}"]}},
    ),
}
"""The methods of JSON-RPC, with the version that has them and parameters that are taken."""

NOT_YOURS, SERVED = "was not started by your run", ""
NOT_THERE = {
    "continue_run": "run is not awaiting additional input",
    "get_event_artifact": "No artifacts found",
}
"""What a client is told that is let in, where there is nothing to do."""

TOOLS: dict[str, tuple[Json, str]] = {
    "spawn_run": ({"backend": "codex", "role": "worker", "prompt": "Work."}, SERVED),
    "get_run": ({"run_id": OTHERS}, NOT_YOURS),
    "poll_events": ({"run_id": OTHERS, "after_seq": 0, "wait_ms": 0}, NOT_YOURS),
    "get_event_artifact": ({"run_id": OTHERS, "seq": 1, "field_path": "/text"}, NOT_YOURS),
    "continue_run": ({"run_id": OTHERS, "input_message": MESSAGE}, NOT_YOURS),
    "cancel_run": ({"run_id": OTHERS, "wait_ms": 0}, NOT_YOURS),
    "list_runs": ({}, SERVED),
    "list_agents": ({}, SERVED),
    "send_agent_message": ({"to_agent_name": OTHERS, "message": MESSAGE}, SERVED),
    "fetch_agent_messages": ({"agent_name": OTHERS, "wait_ms": 0}, f"You are run-1, not {OTHERS}"),
}
"""The tools, with arguments about somebody else's run, and what its agent is told about that."""

RESOURCES = {
    "agentrun://{namespace}/runs/{run_id}": f"agentrun://team/runs/{OTHERS}",
    "agentrun://{namespace}/runs/{run_id}/journal{?after_seq,limit}": (
        f"agentrun://team/runs/{OTHERS}/journal"
    ),
    "agentrun://{namespace}/profiles": "agentrun://team/profiles",
}
PROMPTS = ("plan", "implement", "review")

EVENT = {
    "seq": 1, "event_id": "e-1", "ts": "2026-11-23T12:00:01.000Z", "type": "agent_message",
    "data": {"text": "Hello."},
}  # fmt: skip
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}

GATEWAY: dict[tuple[str, str], tuple[str, Json, int]] = {
    ("GET", "/v1/task"): ("/v1/task", {}, 200),
    ("GET", "/v1/head"): ("/v1/head", {}, 200),
    ("POST", "/v1/events"): ("/v1/events", {"json": {"events": [EVENT]}}, 200),
    ("PUT", "/v1/blobs/{name:path}"): ("/v1/blobs/a", {"content": b"bytes"}, 200),
    ("POST", "/v1/state"): ("/v1/state", {"json": {"state": "Working"}}, 200),
    ("GET", "/v1/inputs"): ("/v1/inputs?after=0&wait_ms=0", {}, 200),
    ("GET", "/v1/messages"): ("/v1/messages?after=0&wait_ms=0", {}, 200),
    ("POST", "/v1/delivered"): ("/v1/delivered", {"json": {"seq": 1}}, 200),
    # The run goes on from no snapshot.
    ("GET", "/v1/snapshot/{name}"): ("/v1/snapshot/manifest.json", {}, 404),
    ("POST", "/v1/mcp"): ("/v1/mcp", {"json": LIST}, 200),
    ("POST", "/v1/outcome"): ("/v1/outcome", {"json": {"attempt": 1, "state": "Completed"}}, 200),
}
"""Port 8081, with what the pod of a run is answered. Nobody else is answered."""


@dataclass
class Site:
    """Both ports, and what is behind them."""

    front: Starlette
    gateway: Starlette
    tool_context: ToolContext
    runs: FakeRuns

    async def ask(
        self, app: Starlette, method: str, path: str, token: str, **more: Any
    ) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        headers |= {"accept": "application/json, text/event-stream"} | more.pop("headers", {})
        async with httpx2.AsyncClient(transport=transport, base_url="http://agentrun") as http:
            return await http.request(method, path, headers=headers, **more)

    async def call(
        self, token: str, method: str, params: Json, version: str = OLD, path: str = "/mcp"
    ) -> httpx2.Response:
        """Send a JSON-RPC request, in the form that a version of the protocol wants."""
        headers = {"mcp-protocol-version": version} if method != "initialize" else {}
        if version == NEW:
            headers |= {"mcp-method": method}
            if name := params.get("name") or params.get("uri"):
                headers["mcp-name"] = str(name)
            params = params | {
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": NEW,
                    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                    "io.modelcontextprotocol/clientCapabilities": {},
                }
            }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        app = self.front if path == "/mcp" else self.gateway
        return await self.ask(app, "POST", path, token, json=body, headers=headers)

    async def refuses_at_the_front(self, method: str, params: Json) -> None:
        """See that nobody, strangers and agents are refused, in every version of the protocol."""
        for version in (OLD, NEW):
            for token in (NOBODY, AGENT, "made-up"):
                answer = await self.call(token, method, params, version)
                assert answer.status_code == 401, (token, version)
            refuses_a_stranger(await self.call(STRANGER, method, params, version))


def refuses_a_stranger(answer: httpx2.Response) -> None:
    assert answer.status_code == 403, answer.text
    assert 'Bearer error="insufficient_scope"' in answer.headers["www-authenticate"]
    words = answer.json()["error"]["message"]
    assert words.startswith("system:serviceaccount:sec-a:nobody is not authorized")
    assert "mcpServer.access.subjects" in words


def answered(answer: httpx2.Response, status: int = 200) -> Json:
    """Read the answer to a JSON-RPC request, whichever form it has."""
    assert answer.status_code == status, answer.text
    lines = [line for line in answer.text.splitlines() if line.startswith("data: {")]
    text = lines[-1].removeprefix("data: ") if lines else answer.text
    found: Json = json.loads(text)
    return found


def a_review(account: str, audience: str, pod: str = "") -> Json:
    namespace = account.partition(":")[0]
    bound = {
        "authentication.kubernetes.io/pod-name": [pod],
        "authentication.kubernetes.io/pod-uid": ["pod-1"],
    }
    user = {
        "username": f"system:serviceaccount:{account}",
        "groups": [
            "system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated",
        ],
        "extra": bound if pod else {},
    }  # fmt: skip
    return {"authenticated": True, "audiences": [audience], "user": user}


@asynccontextmanager
async def a_site() -> AsyncIterator[Site]:
    cluster, store, runs = FakeCluster(), MemoryRunStore(), FakeRuns()
    cluster.reviews |= {
        STRANGER: a_review("sec-a:nobody", AUDIENCE),
        CLIENT: a_review("team:agentrun-client", AUDIENCE),
        AGENT: a_review("team:default", TOKEN_AUDIENCE, "run-1-1"),
        FOREIGN_POD: a_review("sec-a:default", TOKEN_AUDIENCE, "run-1-1"),
    }
    runs.profiles["codex"], runs.sessions["run-1"] = a_profile(), a_session("run-1", "session-1")
    runs.profiles["codex"].spec.agent_tools = AgentTools.model_validate(
        {"allowed": list(TOOLS), "children": {"maxCount": 2, "maxDepth": 2}}
    )
    cluster.add(PROFILES, "team", profile())
    for name in ("run-1", OTHERS):
        cluster.add(SESSIONS, "team", session(name))
    own, others = the_run(), AgentRun.model_validate(cluster.add(RUNS, "team", run(OTHERS)))
    runs.put(own)
    await store.record_run(RunRow(own, "session-1"))
    await store.record_run(RunRow(others, "session-2"))
    subjects = [ServiceAccount(kind="ServiceAccount", name="agentrun-client", namespace="team")]
    settings = Settings(public_url="https://runs.test")
    async with cached(cluster, store, "team") as watched:
        of_cluster = Runs(cluster, store, watched)
        policies = user_policies(access_of(subjects), ["team"], of_cluster.quarantine)
        tool_context = ToolContext(store, MemoryBlobStore(), of_cluster, policies)
        front = build_app(tool_context, KubernetesTokenVerifier(cluster), settings, lambda: True)
        gateway = build_gateway(
            store,
            tool_context.blobs,
            runs,
            TokenReviewAuthenticator(cluster),
            asyncio.Event(),
            tool_context,
        )
        async with (
            front.router.lifespan_context(front),
            gateway.router.lifespan_context(gateway),
        ):
            yield Site(front, gateway, tool_context, runs)


def paths_of(app: Starlette) -> dict[str, Route]:
    """List the routes; what is no plain route has paths that nobody here sees."""
    assert all(isinstance(route, Route) for route in app.routes)
    return {route.path: route for route in app.routes if isinstance(route, Route)}


async def test_every_operation_has_its_row() -> None:
    async with a_site() as site:
        assert set(paths_of(site.front)) == set(ROUTES)
        of_gateway = {
            (method, path)
            for path, route in paths_of(site.gateway).items()
            for method in (route.methods or {"ANY"}) - {"HEAD"}
        }
        assert of_gateway == set(GATEWAY)
        server = build_server(site.tool_context)
    registered = server._lowlevel_server._request_handlers
    assert {*registered, "initialize"} == set(METHODS)
    assert not server._lowlevel_server._notification_handlers
    assert {tool.name for tool in await server.list_tools()} == set(TOOLS)
    resources = {str(one.uri) for one in await server.list_resources()}
    templates = {one.uri_template for one in await server.list_resource_templates()}
    assert resources | templates == set(RESOURCES)
    assert {one.name for one in await server.list_prompts()} == set(PROMPTS)


async def test_a_route_is_open_or_closed_with_every_verb() -> None:
    async with a_site() as site:
        for path, kind in ROUTES.items():
            for verb in VERBS:
                answers = {
                    token: await site.ask(site.front, verb, path, token)
                    for token in (NOBODY, AGENT, STRANGER)
                }
                statuses = {token: answer.status_code for token, answer in answers.items()}
                if kind == "open":
                    assert not set(statuses.values()) & {401, 403}, (verb, path)
                    continue
                assert statuses == {NOBODY: 401, AGENT: 401, STRANGER: 403}, (verb, path)
                if verb != "HEAD":
                    refuses_a_stranger(answers[STRANGER])


async def test_what_is_not_there_or_is_added_is_closed() -> None:
    async def new(_: Any) -> Any:
        raise AssertionError("it is closed")

    async with a_site() as site:
        site.front.router.routes.append(Route("/new", new))
        for path in ("/", "/mcp/", "/new", "/readyz/mcp", "//mcp", "/.well-known"):
            assert (await site.ask(site.front, "GET", path, NOBODY)).status_code == 401, path
            refuses_a_stranger(await site.ask(site.front, "GET", path, STRANGER))
            if path not in ("/new", "/mcp/"):
                assert (await site.ask(site.front, "GET", path, CLIENT)).status_code == 404, path


async def test_a_method_answers_only_who_is_let_in() -> None:
    async with a_site() as site:
        # The answer to subscriptions/listen is a stream, which ends when the server does.
        site.tool_context.leaving.set()
        for method, (version, params) in METHODS.items():
            await site.refuses_at_the_front(method, params)
            answer = answered(await site.call(CLIENT, method, params, version))
            if method == "subscriptions/listen":
                assert "shutting down" in answer["error"]["message"]
            else:
                assert "result" in answer, method


async def test_a_tool_answers_only_who_is_let_in() -> None:
    async with a_site() as site:
        for tool, (arguments, words) in TOOLS.items():
            params = {"name": tool, "arguments": arguments}
            await site.refuses_at_the_front("tools/call", params)
            of_agent = answered(await site.call(AGENT, "tools/call", params, path="/v1/mcp"))
            assert is_told(of_agent["result"], words), (tool, of_agent)
            of_client = answered(await site.call(CLIENT, "tools/call", params))
            assert is_told(of_client["result"], NOT_THERE.get(tool, "")), (tool, of_client)


async def test_a_tool_serves_no_agent_whose_profile_does_not_offer_it() -> None:
    async with a_site() as site:
        site.runs.profiles["codex"].spec.agent_tools = AgentTools(allowed=[])
        for tool, (arguments, _) in TOOLS.items():
            params = {"name": tool, "arguments": arguments}
            refused = answered(await site.call(AGENT, "tools/call", params, path="/v1/mcp"))
            assert is_told(refused["result"], f"does not allow tool {tool}")


async def test_tools_and_resources_ask_the_policy_however_they_are_reached() -> None:
    """Without the guard of the port, as over another transport, a stranger gets nothing either."""
    async with a_site() as site:
        site.front.user_middleware[:] = [
            one for one in site.front.user_middleware if cast(object, one.cls) is not Guard
        ]
        for tool, (arguments, _) in TOOLS.items():
            params = {"name": tool, "arguments": arguments}
            refused = answered(await site.call(STRANGER, "tools/call", params))
            assert is_told(refused["result"], "is not authorized to use this AgentRun"), tool
        for uri in RESOURCES.values():
            refused = answered(await site.call(STRANGER, "resources/read", {"uri": uri}))
            assert "is not authorized to use this AgentRun" in refused["error"]["message"], uri
        version, params = METHODS["subscriptions/listen"]
        refused = answered(await site.call(STRANGER, "subscriptions/listen", params, version), 400)
        assert "is not authorized to use this AgentRun" in refused["error"]["message"]


async def check_only_clients_may(site: Site, method: str, params: Json) -> None:
    """Whoever is let in is answered; nobody else is at the MCP server, and no agent at its own."""
    await site.refuses_at_the_front(method, params)
    assert "result" in answered(await site.call(CLIENT, method, params)), params
    of_agent = await site.call(AGENT, method, params, path="/v1/mcp")
    assert "error" in answered(of_agent), params


async def test_a_resource_is_read_only_by_who_is_let_in() -> None:
    async with a_site() as site:
        for uri in RESOURCES.values():
            await check_only_clients_may(site, "resources/read", {"uri": uri})


async def test_a_prompt_is_given_only_to_who_is_let_in() -> None:
    async with a_site() as site:
        for name in PROMPTS:
            params = {"name": name, "arguments": {"task": "Think."}}
            await check_only_clients_may(site, "prompts/get", params)


async def test_the_gateway_serves_the_pods_of_runs_only() -> None:
    async with a_site() as site:
        for (verb, path), (concrete, more, expected) in GATEWAY.items():
            statuses = {
                token: (await site.ask(site.gateway, verb, concrete, token, **more)).status_code
                for token in (NOBODY, "made-up", STRANGER, CLIENT, FOREIGN_POD, AGENT)
            }
            assert statuses == {
                NOBODY: 401, "made-up": 401, STRANGER: 401, CLIENT: 401, FOREIGN_POD: 403,
                AGENT: expected,
            }, (verb, path)  # fmt: skip


def is_told(result: Json, words: str) -> bool:
    """Say whether a tool refuses with some words; without words, whether it serves."""
    return bool(result.get("isError")) == bool(words) and words in json.dumps(result)
