"""Who is let in: a workload from elsewhere in the cluster gets nothing of AgentRun."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio

from dev.components import Cluster
from mcp_server.access.auth import AUDIENCE
from tests.e2e.cluster import RUNS, SYSTEM, eventually, held, items, kubectl, until
from tests.e2e.installation import Installation
from tests.e2e.places import PROBE, Place, a_pod
from tests.e2e.pods import is_ready

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("access")]

TOKENS = "/var/run/tokens"
CALL: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "list_runs", "arguments": {}},
}


@dataclass(frozen=True)
class Stranger:
    """A pod with nobody's rights in a namespace of its own, and its token for the MCP server."""

    place: Place
    token: str

    @property
    def username(self) -> str:
        """Who the API server says it is."""
        return f"system:serviceaccount:{self.place.namespace}:default"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stranger(platform: Installation) -> AsyncIterator[Stranger]:
    """No right is needed for this but to create a pod somewhere: RBAC guards no audience."""
    namespace = f"strangers-{uuid4().hex[:8]}"
    projected = {"serviceAccountToken": {"audience": AUDIENCE, "path": "token"}}
    pod = a_pod(
        "stranger", namespace, volumes=[{"name": "t", "projected": {"sources": [projected]}}]
    )
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "t", "mountPath": TOKENS}]
    named = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    async with held(named):
        # Its ServiceAccount comes a moment after the namespace, and before it there is no pod.
        await until("serviceaccount", "default", lambda seen: seen is not None, namespace)
        async with held(pod):
            await until("pod", "stranger", is_ready, namespace)
            place = Place(namespace, "stranger", "look")
            yield Stranger(place, await place.run("cat", f"{TOKENS}/token"))


async def call(platform: Installation, token: str) -> httpx2.Response:
    headers = {
        "authorization": f"Bearer {token}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2025-06-18",
    }
    async with httpx2.AsyncClient(timeout=30) as http:
        return await http.post(platform.client.url, json=CALL, headers=headers)


async def test_a_token_of_another_service_account_is_rejected_everywhere(
    platform: Installation, stranger: Stranger
) -> None:
    answer = await call(platform, stranger.token)
    assert answer.status_code == 403, answer.text
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    words = answer.json()["error"]["message"]
    assert f"{stranger.username} is not authorized to use this AgentRun" in words
    assert "mcpServer.access.subjects" in words
    assert (await call(platform, platform.client.token)).status_code == 200


async def test_another_account_of_the_run_namespace_is_rejected(
    platform: Installation,
) -> None:
    token = await kubectl("create", "token", "default", "-n", RUNS, "--audience", AUDIENCE)
    assert (await call(platform, token.strip())).status_code == 403


async def test_another_pod_reaches_no_port_of_agentrun(
    cluster: Cluster, stranger: Stranger
) -> None:
    ports = await own_ports()
    # A client beside the runs shows that there is something to be reached, and how far it goes.
    async with held(a_pod("looks-like-a-client", RUNS)):
        await until("pod", "looks-like-a-client", is_ready, RUNS)
        client = Place(RUNS, "looks-like-a-client", "look")
        await eventually(
            lambda: client.reached(*ports.values()), lambda seen: seen == {ports["mcp"]}
        )
    assert await stranger.place.reached(*ports.values()) == set()
    assert await asyncio.to_thread(reached_from_node, cluster, *ports.values()) == {
        ports["mcp"], ports["gateway"], ports["health"]
    }  # fmt: skip


async def own_ports() -> dict[str, str]:
    """Find the ports of our own pods, by their names."""
    own = "app.kubernetes.io/name=agentrun,app.kubernetes.io/component in (mcp,operator)"
    found = {}
    for pod in filter(is_ready, await items("pods", labels=own, namespace=SYSTEM)):
        for port in pod["spec"]["containers"][0]["ports"]:
            found[port["name"]] = f"{pod['status']['podIP']}:{port['containerPort']}"
    assert set(found) == {"mcp", "gateway", "health"}
    return found


def reached_from_node(cluster: Cluster, *addresses: str) -> set[str]:
    """Say which addresses the node reaches, whose kubelet has to probe them."""
    command = ["nsenter", f"--net={cluster.network.path}", sys.executable, "-c", PROBE, *addresses]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {address for address, answers in json.loads(done.stdout).items() if answers}
