"""An installation with three MCP servers, on PostgreSQL and S3."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from dev import product, store_fixtures
from dev.mcp_client import McpClient
from tests.e2e.cluster import Json, apply, delete, eventually, gone, items, pod_of, processes_of
from tests.e2e.installation import MCP_SERVER, Installation
from tests.e2e.pods import is_ready

RELEASE = product.Release("agentrun-replicas", "agentrun-replicas", "agents-replicas")
REPLICAS = 3
FLAGS = {
    "operator.resyncSeconds": "30",
    "profiles.codex.enabled": "false",
    "profiles.claudeCode.enabled": "false",
    "mcpServer.replicas": str(REPLICAS),
    "mcpServer.store.url": store_fixtures.DATABASE_URL,
    "mcpServer.store.passwordSecret.name": "database",
    "mcpServer.store.caSecret.name": "database-ca",
    "mcpServer.blobs.url": store_fixtures.BLOBS_URL,
    "mcpServer.blobs.endpoint": store_fixtures.S3_URL,
    "mcpServer.blobs.region": "us-east-1",
    "mcpServer.blobs.credentialsSecret": "bucket",
}
GATEWAY_PORT = ":1F91 "
"""Port 8081 in the format of the kernel's tables."""


@asynccontextmanager
async def installed(main: Installation) -> AsyncIterator[Installation]:
    """Install the release beside the main one, and remove everything of it afterwards."""
    made = Installation(main.cluster, RELEASE, main.client)
    # An earlier one may still be terminating: its removal does not wait for the end.
    for namespace in (RELEASE.system, RELEASE.runs):
        await gone("namespace", namespace, "")
    try:
        await asyncio.to_thread(store_fixtures.apply, main.cluster)
        await apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RELEASE.system}})
        await apply(*_secrets(main.cluster))
        flags = ",".join(f"{name}={value}" for name, value in FLAGS.items())
        there = await made.install("--set", flags)
        # A new connection for each call, so that each call may reach another replica.
        yield there.through(there.client.anew())
    finally:
        await made.helm("uninstall", "--ignore-not-found")
        await delete("namespace", RELEASE.runs, RELEASE.system, namespace="")
        await asyncio.to_thread(store_fixtures.remove, main.cluster)


async def serving(installation: Installation) -> list[Json]:
    """Return the MCP servers that are ready and not terminating."""
    return [pod for pod in await installation.pods(MCP_SERVER) if is_ready(pod)]


async def all_serving(installation: Installation) -> list[Json]:
    """Wait until all replicas of the MCP server are ready."""
    return await eventually(lambda: serving(installation), lambda pods: len(pods) == REPLICAS)


@contextmanager
def client_of(installation: Installation, pod: Json) -> Iterator[McpClient]:
    """Yield a client of one of the MCP servers, without the Service."""
    name = pod["metadata"]["name"]
    with product.pod_url(installation.cluster, RELEASE.system, name, 8080) as url:
        yield McpClient(f"{url}/mcp", installation.client.token)


async def gateway_of(run_id: str, pods: list[Json]) -> Json:
    """Find the MCP server to which the runner of a run's first attempt is connected."""
    address: str = (await pod_of(run_id, namespace=RELEASE.runs))["status"]["podIP"]
    found = await eventually(
        lambda: asyncio.to_thread(_connected, address, pods), lambda pod: pod is not None
    )
    assert found is not None
    return found


def _connected(address: str, pods: list[Json]) -> Json | None:
    # The kernel's table has addresses and ports in hexadecimal, an address's last byte first.
    remote = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
    for pod in pods:
        for line in processes_of(pod["metadata"]["uid"]):
            tables = _tcp_tables(line.split()[0])
            if any(remote in entry and GATEWAY_PORT in entry for entry in tables):
                return pod
    return None


def _tcp_tables(pid: str) -> list[str]:
    established = " 01 "
    folder = Path("/proc") / pid / "net"
    entries = [
        line for name in ("tcp", "tcp6") for line in (folder / name).read_text().splitlines()
    ]
    return [line for line in entries if established in line]


def _secrets(cluster: str) -> list[Json]:
    return [
        _secret("database", password=store_fixtures.PASSWORD),
        _secret("database-ca", **{"ca.crt": store_fixtures.authority(cluster)}),
        _secret("bucket", **store_fixtures.S3_CREDENTIALS),
    ]


def _secret(name: str, **values: str) -> Json:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    metadata = {"name": name, "namespace": RELEASE.system}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


async def manifests() -> str:
    """Return all data in the API server about the MCP servers' pods and Deployment, as JSON."""
    kinds = ("deployment", "replicaset", "pod")
    return json.dumps([await items(kind, namespace=RELEASE.system) for kind in kinds])
