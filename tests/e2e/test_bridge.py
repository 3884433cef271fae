"""The bridge on a user's machine: real clients, an MCP server that is replaced, tokens that end."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from mcp import Client
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import ResourceUpdatedNotification
from mcp_types.version import LATEST_MODERN_VERSION

from agentrun.cli.connection.discovery import find_service
from agentrun.cli.connection.forward import PodNetwork
from agentrun.cli.connection.kube import UserCluster
from agentrun.cli.connection.pods import Pods
from agentrun.cli.connection.tokens import BearerAuth, RequestedToken
from agentrun.cli.connection.transport import NetworkTransport
from agentrun.cli.options import ConnectionOptions
from dev import product
from dev.shell import wait_until
from tests.e2e.agents import script, trivial
from tests.e2e.bridges import Laptop, a_user, make_laptop, read_kubeconfig
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, SYSTEM, Json, apply, get
from tests.e2e.installation import MCP_SERVER, Installation, profile
from tests.waiting import LATE_SECONDS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

LONGEST_LINE = 16 * 1024 * 1024


@pytest.fixture
def laptop(platform: Installation, tmp_path: Path) -> Iterator[Laptop]:
    made = make_laptop(tmp_path / "home", read_kubeconfig())
    yield made
    # Whoever started a bridge has it end, and does not always wait for it.
    wait_until("no process is left", lambda: made.processes() == [], 30)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def busy(platform: Installation) -> AsyncIterator[str]:
    """A run that goes on for longer than anybody here waits for news of it."""
    run_id = await platform.trivial(["sleep", 600])
    # As the MCP server has it: a poll also ends when the run's status is another.
    await platform.reaches(run_id, "Running")
    await platform.shown(run_id, lambda run: run["status"] == "running")
    yield run_id
    await platform.client.cancel(run_id)


waits_for_a_busy_run = pytest.mark.xdist_group("bridge")
"""One run is enough for all of them."""


@pytest.fixture(scope="module")
def model(platform: Installation) -> Iterator[str]:
    with product.service_url(platform.cluster, "agentrun-dev", "model", 8080) as url:
        yield url


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    content = result.structured_content
    assert isinstance(content, dict)
    return content


async def cancel(client: Client, run_id: str) -> None:
    """Cancel a run as clients are told to: again, while it is on its way."""
    async with asyncio.timeout(120):
        status = "cancelling"
        while status == "cancelling":
            status = (await call(client, "cancel_run", run_id=run_id, wait_ms=30_000))["status"]
    assert status == "cancelled"


def words(text: str) -> Json:
    return {"role": "user", "parts": [{"type": "text", "text": text}]}


async def spawned(client: Client, *steps: list[Any]) -> str:
    run = await call(
        client, "spawn_run", backend="acp", role="worker", profile="trivial", prompt=trivial(*steps)
    )
    return str(run["run_id"])


def tool(name: str, until: str = "", **arguments: Any) -> Json:
    """A step in which the client calls a tool, again until its answer has some words in it."""
    step = {"tool": f"agentrun/{name}", "arguments": arguments}
    return step | {"until": until} if until else step


def follows(until: str) -> Json:
    """A step in which the client reads on from where the last page ended."""
    return tool("poll_events", until, run_id="{{run_id}}", after_seq="{{next_after_seq}}")


# The first of them also installs both programs.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("program", ["codex", "claude"])
async def test_a_real_client_spawns_follows_answers_continues_and_cancels_runs(
    platform: Installation, laptop: Laptop, model: str, program: str
) -> None:
    memory = [{"name": "ACP_AGENT_MEMORY", "value": ".trivial"}]
    await apply(profile("client-asks", env=memory, permissionMode="Ask"))
    name = f"asked-by-{program}-{token_hex(4)}"
    asks = trivial(["ask", "May I push it?"], ["say", "So be it."])
    works_on = trivial(["recall"], ["say", "I go on."], ["sleep", 600])
    said = await laptop.ask(
        program,
        script(
            tool(
                "spawn_run", backend="acp", role="worker", profile="client-asks", nickname=name,
                prompt=asks,
            ),
            tool("poll_events", "run_started", run_id="{{run_id}}", after_seq=0, limit=1),
            follows("input_required"),
            tool("get_run", run_id="{{run_id}}"),
            tool("continue_run", run_id="{{run_id}}", input_message=words("Yes")),
            follows("completed_at"),
            tool("continue_run", run_id="{{run_id}}", input_message=words(works_on)),
            tool("poll_events", "run_started", run_id="{{run_id}}", after_seq=0, limit=1),
            follows("I go on."),
            tool("cancel_run", run_id="{{run_id}}", wait_ms=30_000),
            {"say": "It is cancelled."},
        ),
        model,
    )  # fmt: skip
    # What the client printed are the tools' own answers: they passed the bridge.
    for words_of_it in ("It is cancelled.", "May I push it?", "cancelled_at"):
        assert words_of_it in said
    for one in (await platform.client.call("list_runs", agent_name=name))["runs"]:
        await platform.client.finish(one["run_id"])
    runs = (await platform.client.call("list_runs", agent_name=name))["runs"]
    other, first = runs
    assert [one["status"] for one in runs] == ["cancelled", "completed"], runs
    assert other["resumed_from_run_id"] == first["run_id"]
    assert first["run_id"] in said
    assert other["run_id"] in said
    run = await platform.run(other["run_id"])
    assert run["spec"]["session"]["name"] == name
    caller = f"system:serviceaccount:{RUNS}:agentrun-client"
    assert run["spec"]["cancellation"]["requestedBy"] == caller
    _, events = await platform.client.finish(first["run_id"])
    check_journal(events, "completed")
    assert "So be it." in json.dumps(events)
    _, events = await platform.client.finish(other["run_id"])
    check_journal(events, "cancelled")
    assert "May I push it?" in json.dumps(events), "it goes on with the conversation"
    assert await get("pod", f"{other['run_id']}-1") is None


async def test_the_bridge_offers_exactly_what_the_mcp_server_offers(
    platform: Installation, laptop: Laptop
) -> None:
    # A client gives the first answer ten seconds; a bridge may take longer to start.
    async with laptop.bridge(mode=LATEST_MODERN_VERSION) as here, platform.client.client() as there:
        assert await here.list_tools() == await there.list_tools()
        offered = [await one.session.send_discover(LATEST_MODERN_VERSION) for one in (here, there)]
        assert offered[0] == offered[1]
        unknown = await here.call_tool("get_run", {"run_id": "run-unknown"})
        assert unknown == await there.call_tool("get_run", {"run_id": "run-unknown"})
        assert unknown.is_error


async def test_an_older_client_subscribes_to_a_run_through_the_bridge(laptop: Laptop) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def note(message: object) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            heard.put_nowait(str(message.params.uri))

    async with laptop.bridge(mode="legacy", message_handler=note, cache=None) as client:
        run_id = await spawned(client, ["say", "I wait."], ["sleep", 600])
        uri = f"agentrun://{RUNS}/runs/{run_id}"
        with pytest.warns(MCPDeprecationWarning):
            await client.session.subscribe_resource(uri)
        assert await asyncio.wait_for(heard.get(), LATE_SECONDS) == uri
        await call(client, "cancel_run", run_id=run_id, wait_ms=30_000)
        async with asyncio.timeout(LATE_SECONDS):
            while '"status":"cancelled"' not in str(await client.read_resource(uri)):
                assert await heard.get() == uri


@pytest.mark.disruptive
async def test_a_rollout_of_the_mcp_server_ends_neither_bridge_nor_run(
    platform: Installation, laptop: Laptop
) -> None:
    async with laptop.bridge() as client:
        run_id = await spawned(client, ["say", "I wait."], ["sleep", 600])
        after = await _read_up_to(client, run_id, "I wait.")
        arguments = {"run_id": run_id, "after_seq": after, "wait_ms": 30_000}
        async with asyncio.TaskGroup() as both:
            poll = client.call_tool("poll_events", arguments)
            waiting = both.create_task(asyncio.wait_for(poll, 60))
            both.create_task(platform.restart(MCP_SERVER))
        # The MCP server that goes answers what waits, and the next call finds the one that comes.
        assert not waiting.result().is_error
        await cancel(client, run_id)
    await platform.ready()


async def _read_up_to(client: Client, run_id: str, words: str) -> int:
    after = 0
    async with asyncio.timeout(LATE_SECONDS):
        while True:
            page = await call(client, "poll_events", run_id=run_id, after_seq=after)
            after = page["next_after_seq"]
            if words in str(page["events"]):
                # Whatever comes right behind, so that the next poll has to wait.
                rest = await call(
                    client, "poll_events", run_id=run_id, after_seq=after, wait_ms=500
                )
                return int(rest["next_after_seq"])


@waits_for_a_busy_run
async def test_waiting_clients_get_progress_and_may_stop_waiting(laptop: Laptop, busy: str) -> None:
    heard = asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.set()

    async with laptop.bridge() as client:
        arguments = {"run_id": busy, "after_seq": 1000, "wait_ms": 30_000}
        poll = asyncio.create_task(
            client.call_tool("poll_events", arguments, progress_callback=hear)
        )
        # The MCP server tells it every 5 s, and the poll would go on for 30.
        await asyncio.wait_for(heard.wait(), 20)
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        # The call that the client cancels ends, and others go on.
        run = await asyncio.wait_for(call(client, "get_run", run_id=busy), 15)
        assert run["status"] == "running"


async def test_two_bridges_of_one_user_work_at_once(laptop: Laptop) -> None:
    async with laptop.bridge() as one, laptop.bridge() as other:
        run_id = await spawned(one, ["sleep", 600])
        polls = [
            call(client, "poll_events", run_id=run_id, after_seq=0) for client in (one, other) * 4
        ]
        assert len({str(page["run_id"]) for page in await asyncio.gather(*polls)}) == 1
        await cancel(other, run_id)


@waits_for_a_busy_run
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_in_the_middle_of_a_poll_ends_the_bridge_at_once(
    laptop: Laptop, busy: str, number: signal.Signals
) -> None:
    bridge = await asyncio.create_subprocess_exec(
        str(laptop.home / "bin" / "agentrun"), "mcp",
        env={**laptop.environment, "TMPDIR": str(laptop.home)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LONGEST_LINE,
    )  # fmt: skip
    assert bridge.stdin is not None
    assert bridge.stdout is not None
    arguments = {"run_id": busy, "after_seq": 1000, "wait_ms": 30_000}
    poll = {"name": "poll_events", "arguments": arguments}
    for request_id, method, params in ((1, "tools/list", {}), (2, "tools/call", poll)):
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        bridge.stdin.write(json.dumps(message).encode() + b"\n")
        if request_id == 1:
            await asyncio.wait_for(bridge.stdout.readuntil(b"\n"), LATE_SECONDS)
    bridge.send_signal(number)
    assert await asyncio.wait_for(bridge.wait(), LATE_SECONDS) == 128 + number
    assert await bridge.stdout.read() == b"", "the bridge waited for the answer to the poll"
    assert [path.name for path in laptop.home.iterdir() if path.name.startswith("tmp")] == []


async def test_the_charts_roles_are_sufficient_for_a_user(
    platform: Installation, tmp_path: Path
) -> None:
    async with a_user() as developer:
        theirs = make_laptop(tmp_path / "home", developer.kubeconfig)
        refused = await _check(theirs)
        assert "Role agentrun-user of its chart in agentrun-system" in refused
        await developer.may("agentrun-user", SYSTEM)
        refused = await _check(theirs)
        assert "kubectl create rolebinding agentrun-user-token -n agents" in refused
        await developer.may("agentrun-user-token", RUNS)
        async with theirs.bridge() as client:
            assert "runs" in await call(client, "list_runs")


async def _check(laptop: Laptop) -> str:
    process = await asyncio.create_subprocess_exec(
        str(laptop.home / "bin" / "agentrun"), "mcp", "--check",
        env=laptop.environment, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await process.communicate()
    assert process.returncode == 8
    assert len(err.splitlines()) == 1
    return err.decode()


async def test_tokens_are_renewed_while_calls_go_on(platform: Installation) -> None:
    kube = await UserCluster.connect(os.environ["KUBECONFIG"], "")
    try:
        service = await find_service(kube, ConnectionOptions(system_namespace=product.SYSTEM))
        # The shortest life that Kubernetes gives, used for no part of it.
        tokens = RequestedToken(kube, service.run_namespaces[0], seconds=600, renew_after=0.0)
        seen = [await tokens.get() for _ in range(2)]
        assert seen[0] != seen[1]
        network = NetworkTransport(PodNetwork(kube, Pods(kube, service), ""))
        async with httpx2.AsyncClient(
            transport=network, auth=BearerAuth(tokens), timeout=60
        ) as http:
            for _ in range(3):
                ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
                headers = {"accept": "application/json, text/event-stream"}
                url = f"http://{service.name}.{service.namespace}.svc/mcp"
                answer = await http.post(url, json=ping, headers=headers)
                assert answer.status_code == 200
        # A token that is refused is replaced, and the request is made again.
        tokens._token = "no-token"
        assert await tokens.renew("no-token") not in seen
    finally:
        await kube.close()
