"""What a run can reach over the network, and that the Kubernetes API is no part of it."""

import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
import pytest

from agentrun.api.pod_layout import AGENT, RUNNER, TOKEN_FILE
from dev import cluster as dev_cluster
from dev.components import Cluster
from tests.e2e.cluster import RUNS, SYSTEM, eventually, get, items, kubectl
from tests.e2e.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

# Prints which of the addresses given as HOST:PORT take a connection.
PROBE = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def answers(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        return True
    except OSError:
        return False
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(dict(zip(sys.argv[1:], pool.map(answers, sys.argv[1:])))))
"""
METADATA = "169.254.169.254"
LISTENING = "python3 -m http.server 9000 --directory /tmp >/tmp/listening.log 2>&1"


@dataclass(frozen=True)
class Place:
    """A container to look out from."""

    namespace: str
    pod: str
    container: str

    async def run(self, *command: str) -> str:
        """Run a command there."""
        where = ("-n", self.namespace, self.pod, "-c", self.container)
        return await kubectl("exec", *where, "--", *command)

    async def reached(self, *addresses: str) -> set[str]:
        """Say which of ``addresses`` take a connection from there."""
        answers = json.loads(await self.run("python3", "-c", PROBE, *addresses))
        return {address for address, answered in answers.items() if answered}


@pytest.fixture
def cluster(platform: Platform) -> Cluster:
    found = dev_cluster.find(platform.cluster)
    assert found is not None, "needs the native cluster"
    return found


@pytest.fixture
def metadata_server(cluster: Cluster) -> Iterator[str]:
    """Something that answers where clouds keep what a node may know and an agent may not."""
    inside = ["nsenter", f"--net={cluster.network.path}"]
    subprocess.run([*inside, "ip", "addr", "replace", f"{METADATA}/32", "dev", "lo"], check=True)
    command = [*inside, "python3", "-m", "http.server", "80", "--bind", METADATA]
    with subprocess.Popen(
        command, cwd="/proc", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        yield f"{METADATA}:80"
        server.kill()
    subprocess.run([*inside, "ip", "addr", "del", f"{METADATA}/32", "dev", "lo"], check=True)


@asynccontextmanager
async def listening_run(platform: Platform) -> AsyncIterator[tuple[str, str]]:
    """Have a run whose agent listens on port 9000; give its pod's name and address."""
    run_id = await platform.trivial(["run", LISTENING])
    pod = f"{run_id}-1"
    here = Place(RUNS, pod, AGENT)
    await eventually(lambda: platform.phase(run_id), lambda phase: phase == "Running")

    async def is_listening() -> bool:
        return bool(await here.reached("127.0.0.1:9000"))

    await eventually(is_listening, bool)
    found = await get("pod", pod)
    assert found is not None
    yield pod, found["status"]["podIP"]
    await platform.door.call("cancel_run", run_id=run_id, wait_ms=30_000)


async def cut_off(here: Place, address: str) -> None:
    """Wait for the policy: it holds from a moment after the pod has its address."""
    await eventually(lambda: here.reached(address), lambda reached: not reached)


async def ordinary_pod() -> Place:
    """A pod that no policy is about: the scripted model's."""
    pods = await items("pods", "-l", "app=model", namespace="agentrun-dev")
    return Place("agentrun-dev", pods[0]["metadata"]["name"], "model")


async def test_a_run_reaches_what_it_needs_and_nothing_else(
    platform: Platform, cluster: Cluster, metadata_server: str
) -> None:
    net = cluster.network
    needed = {
        f"agentrun-mcp.{SYSTEM}.svc:8081",
        "model.agentrun-dev.svc:8080",
        "git.agentrun-dev.svc:8080",
    }
    forbidden = {
        "kubernetes.default.svc:443",
        f"{net.node}:6443",
        f"{net.node}:10250",
        f"agentrun-mcp.{SYSTEM}.svc:8080",
        f"agentrun-operator.{SYSTEM}.svc:8080",
        metadata_server,
    }
    outside = await ordinary_pod()
    # So that what a run does not reach is there to be reached.
    await eventually(
        lambda: outside.reached(*needed, *forbidden), lambda reached: reached == needed | forbidden
    )

    async with listening_run(platform) as (pod, address), listening_run(platform) as (_, other):
        for here in (Place(RUNS, pod, AGENT), Place(RUNS, pod, RUNNER)):
            await cut_off(here, f"{net.api}:443")
            assert await here.reached(*needed, *forbidden, f"{other}:9000") == needed
        for one in (address, other):
            await cut_off(outside, f"{one}:9000")


async def test_the_agent_has_nothing_to_speak_to_the_kubernetes_api_with(
    platform: Platform,
) -> None:
    look = "env; echo; find / -path /proc -prune -o -name 'token*' -path '*secrets*' -print; true"
    run_id = await platform.trivial(["run", look])
    run, events = await platform.door.finish(run_id)
    assert run["status"] == "completed", run
    printed = next(e for e in events if e["type"] in ("command_finished", "tool_finished"))
    environment, _, found = str(printed["data"]["output"]).partition("\n\n")
    assert "HOME=" in environment
    assert "KUBERNETES" not in environment
    assert found.strip() == ""


async def test_the_api_server_takes_no_token_of_a_run(platform: Platform, cluster: Cluster) -> None:
    async with listening_run(platform) as (pod, _):
        assert "No such file" in await Place(RUNS, pod, AGENT).run(
            "sh", "-c", f"cat {TOKEN_FILE} 2>&1; ls /var/run/secrets 2>&1; true"
        )
        runner = Place(RUNS, pod, RUNNER)
        token = await runner.run("cat", TOKEN_FILE)
        mounted = await runner.run("find", "/var/run/secrets", "-name", "*token*", "-type", "l")
        assert mounted.split() == [TOKEN_FILE]
    wishes = (
        "/api", "/version", "/healthz", "/openapi/v2",
        f"/api/v1/namespaces/{RUNS}/pods/{pod}",
        f"/api/v1/namespaces/{RUNS}/secrets",
        f"/apis/agentrun.dev/v1alpha1/namespaces/{RUNS}/agentruns",
    )  # fmt: skip
    trust = ssl.create_default_context(cafile=cluster.pki("ca.crt"))
    async with httpx2.AsyncClient(verify=trust, timeout=10) as http:
        for path in wishes:
            headers = {"Authorization": f"Bearer {token}"}
            refused = await http.get(cluster.server + path, headers=headers)
            assert (path, refused.status_code) == (path, 401)
        for path in wishes[4:]:
            refused = await http.get(cluster.server + path)
            assert (path, refused.status_code) == (path, 403)
