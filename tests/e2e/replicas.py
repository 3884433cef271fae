"""A second installation: three front doors on PostgreSQL and S3."""

import asyncio
import base64
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev import product, store_fixtures
from dev.front_door import FrontDoor
from dev.shell import run
from tests.e2e.agents import trivial
from tests.e2e.cluster import Json, eventually, items, kubectl, processes_of

RELEASE = product.Release("agentrun-replicas", "agentrun-replicas", "agents-replicas")
REPLICAS = 3
FLAGS = {
    "operator.resyncSeconds": "10",
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


@contextmanager
def installed(cluster: str, profile: Json) -> Iterator["Replicas"]:
    """Install the release beside the main one, and remove everything of it afterwards."""
    store_fixtures.apply(cluster)
    env = product.environment(cluster)
    try:
        product.apply(env, _namespace(), *_secrets(cluster))
        flags = ",".join(f"{name}={value}" for name, value in FLAGS.items())
        product.install(cluster, "--set", flags, release=RELEASE)
        product.apply(env, profile)
        with product.service_url(cluster, RELEASE.system, RELEASE.service, 8080) as url:
            yield Replicas(cluster, url, product.token(cluster, RELEASE))
    finally:
        run(
            ["helm", "uninstall", RELEASE.name, "-n", RELEASE.system, "--ignore-not-found"], env=env
        )
        product.kube(env, "delete", "namespace", RELEASE.runs, RELEASE.system, "--ignore-not-found")
        store_fixtures.remove(cluster)


@dataclass
class Replicas:
    """The front doors of the release."""

    cluster: str
    url: str
    """The Service's, behind which all of them are."""
    token: str

    @property
    def door(self) -> FrontDoor:
        """Any of them, and with each call perhaps another."""
        return FrontDoor(f"{self.url}/mcp", self.token)

    async def pods(self) -> list[Json]:
        """Return the pods of all that are ready and not about to end."""
        return [pod for pod in await mcp_pods() if _is_serving(pod)]

    async def all_ready(self) -> list[Json]:
        """Wait until there are as many as there should be."""
        return await eventually(self.pods, lambda pods: len(pods) == REPLICAS, 120)

    @contextmanager
    def door_of(self, pod: Json) -> Iterator[FrontDoor]:
        """Give one of them, reached past the Service."""
        name = pod["metadata"]["name"]
        with product.pod_url(self.cluster, RELEASE.system, name, 8080) as url:
            yield FrontDoor(f"{url}/mcp", self.token)

    async def spawn(self, *steps: list[Any], **more: Any) -> str:
        """Spawn a run of the trivial agent and return its id."""
        task = {"backend": "acp", "role": "worker", "profile": "trivial", "prompt": trivial(*steps)}
        run_id: str = (await self.door.call("spawn_run", **task, **more))["run_id"]
        return run_id

    async def status(self, run_id: str) -> Json:
        """Return what the tools say of a run."""
        return await self.door.call("get_run", run_id=run_id)

    async def running(self, run_id: str) -> None:
        """Wait until a run's agent works."""
        await eventually(lambda: self.status(run_id), lambda run: run["status"] == "running")


async def mcp_pods() -> list[Json]:
    """Return the pods of the release's front doors."""
    which = ("-l", "app.kubernetes.io/component=mcp")
    return await items("pods", *which, namespace=RELEASE.system)


def kill(pod: Json) -> None:
    """Kill every process of a pod, as a crash would; the kubelet starts its container again."""
    for line in processes_of(pod["metadata"]["uid"]):
        if "/pause" not in line:
            with suppress(ProcessLookupError):  # The kernel ended it with its pod's first process.
                os.kill(int(line.split()[0]), signal.SIGKILL)


async def gateway_of(run_id: str, pods: list[Json]) -> Json:
    """Find the front door to which the runner of a run's first attempt is connected."""
    found = await eventually(lambda: _connected(run_id, pods), lambda pod: pod is not None, 30)
    assert found is not None
    return found


async def _connected(run_id: str, pods: list[Json]) -> Json | None:
    query = ("pod", f"{run_id}-1", "-n", RELEASE.runs, "-o", "jsonpath={.status.podIP}")
    address = await kubectl("get", *query)
    # The kernel's table has addresses and ports in hexadecimal, an address's last byte first.
    remote = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
    for pod in pods:
        for line in processes_of(pod["metadata"]["uid"]):
            tables = await asyncio.to_thread(_tcp_tables, line.split()[0])
            if any(remote in entry and ":1F91 " in entry for entry in tables):
                return pod
    return None


def _tcp_tables(pid: str) -> list[str]:
    established = " 01 "
    folder = Path("/proc") / pid / "net"
    entries = [
        line for name in ("tcp", "tcp6") for line in (folder / name).read_text().splitlines()
    ]
    return [line for line in entries if established in line]


def _is_serving(pod: Json) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    is_leaving = "deletionTimestamp" in pod["metadata"]
    return conditions.get("Ready") == "True" and not is_leaving


def _namespace() -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RELEASE.system}}


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


async def pod_manifests() -> str:
    """Return everything that the API server tells of the front doors' pods and Deployment."""
    what = ("deployment,replicaset,pod", "-n", RELEASE.system, "-o", "json")
    return json.dumps(json.loads(await kubectl("get", *what)))
