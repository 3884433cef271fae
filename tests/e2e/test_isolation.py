"""What a run can reach over the network, and that the Kubernetes API is no part of it."""

import asyncio
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from agentrun.api.pod_layout import AGENT, RUNNER, TOKEN_FILE
from dev.components import Cluster
from tests.e2e.cluster import (
    LABEL_RUN,
    RUNS,
    SYSTEM,
    Json,
    eventually,
    pod_of,
    pod_uid,
    until_processes,
)
from tests.e2e.installation import Installation
from tests.e2e.places import Place, ordinary_pod

# The address of the metadata server is of the node, and the runs are there for all tests.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("isolation")]

METADATA = "169.254.169.254"
LISTENING = "python3 -m http.server 9000 --directory /tmp >/tmp/listening.log 2>&1"
LOOK = "env; echo; find / -path /proc -prune -o -name 'token*' -path '*secrets*' -print; true"
# As the kernel writes it of a socket that listens on port 9000.
LISTENS = re.compile(":2328 0+:0000 0A")


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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def listening(platform: Installation) -> AsyncIterator[list[Json]]:
    """The pods of two runs, whose agents have looked around and listen on port 9000."""
    runs = await asyncio.gather(
        *(platform.trivial(["run", LOOK], ["run", LISTENING]) for _ in range(2))
    )
    yield await asyncio.gather(*(_listening_pod(run_id) for run_id in runs))
    await asyncio.gather(*(platform.client.cancel(run_id) for run_id in runs))


async def _listening_pod(run_id: str) -> Json:
    uid = await pod_uid(run_id)
    found = await until_processes(uid, lambda seen: any(map(_is_server, seen)))
    pid = next(filter(_is_server, found)).split()[0]
    await eventually(lambda: asyncio.to_thread(_listens, pid), bool)
    pod = await pod_of(run_id)
    assert pod["status"]["podIP"]
    return pod


def _is_server(process: str) -> bool:
    command = process.partition(" ")[2]
    return command.startswith("python3") and "http.server 9000" in command


def _listens(pid: str) -> bool:
    tables = (Path(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6"))
    return any(LISTENS.search(table.read_text("ascii")) for table in tables if table.exists())


async def cut_off(here: Place, address: str) -> None:
    """Wait for the policy: it holds from a moment after the pod has its address."""
    await eventually(lambda: here.reached(address), lambda reached: not reached)


async def test_a_run_reaches_what_it_needs_and_nothing_else(
    cluster: Cluster, metadata_server: str, listening: list[Json]
) -> None:
    net = cluster.network
    gateway = f"agentrun-mcp.{SYSTEM}.svc:8081"
    needed = {
        gateway,
        "model.agentrun-dev.svc:8080",
        "git.agentrun-dev.svc:8080",
    }
    own = {f"agentrun-mcp.{SYSTEM}.svc:8080", f"agentrun-operator.{SYSTEM}.svc:8080"}
    elsewhere = {
        "kubernetes.default.svc:443",
        f"{net.node}:6443",
        f"{net.node}:10250",
        metadata_server,
    }
    forbidden = elsewhere | own
    outside = await ordinary_pod()
    # So that what a run does not reach is there to be reached; `test_access` does it for our own.
    there = elsewhere | needed - {gateway}
    await eventually(lambda: outside.reached(*needed, *forbidden), lambda reached: reached == there)
    one, other = (f"{pod['status']['podIP']}:9000" for pod in listening)

    async def check(here: Place) -> None:
        await cut_off(here, f"{net.api}:443")
        assert await here.reached(*needed, *forbidden, other) == needed

    pod = listening[0]["metadata"]["name"]
    await asyncio.gather(
        *(check(Place(RUNS, pod, container)) for container in (AGENT, RUNNER)),
        *(cut_off(outside, address) for address in (one, other)),
    )


async def test_the_agent_has_no_credentials_for_the_kubernetes_api(
    platform: Installation, listening: list[Json]
) -> None:
    run_id = listening[0]["metadata"]["labels"][LABEL_RUN]
    async for event in platform.client.events(run_id):
        if event["type"] in ("command_finished", "tool_finished"):
            break
    environment, _, found = str(event["data"]["output"]).partition("\n\n")
    assert "HOME=" in environment
    assert "KUBERNETES" not in environment
    assert found.strip() == ""


async def test_the_api_server_rejects_tokens_of_runs(
    cluster: Cluster, listening: list[Json]
) -> None:
    pod = listening[0]["metadata"]["name"]
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
