"""Runs whose pod, or a part of it, is killed, evicted or deleted under them."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.agents import UNTIL_GO
from tests.e2e.cluster import api, apply, delete, let_go, pod_of, runner_of
from tests.e2e.failing import check_failure, doing, offered
from tests.e2e.installation import MCP_SERVER, SILENT_REPOSITORY, Installation, a_run
from tests.failures import promised

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(420),
    pytest.mark.xdist_group("failures-pods"),
]

NAMESPACE = "impatient-pods"
MEMORY = Path("/sys/fs/cgroup/memory")
ON_CGROUP_V1 = MEMORY.exists()
SMALL = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "100Mi"}}
LITTLE_DISK = {
    "requests": {"cpu": "10m", "memory": "32Mi", "ephemeral-storage": "1Mi"},
    "limits": {"ephemeral-storage": "20Mi"},
}
GROW = "held = b'x' * 2**28; held += held"
# Grows until it is the only one left that can be ended.
GUEST = """
import os, sys
with open(sys.argv[1], "w") as members:
    members.write(str(os.getpid()))
held = []
while os.path.exists(sys.argv[1]) and len(held) < 4096:
    held.append(bytearray(os.urandom(1)) * 2**20)
"""
FILL = "head -c 60000000 /dev/zero > {}; sleep 600"

PROFILES: dict[str, dict[str, Any]] = {
    "small": {"resources": SMALL},
    "grows": {"resources": SMALL, "command": ["python3", "-c", GROW]},
    "small-workspace": {"pod": {"workspaceSize": "10Mi"}},
    "little-disk": {"resources": LITTLE_DISK, "pod": {"readOnlyRootFilesystem": False}},
}
# They fill a disk and stay; the kubelet measures when it pleases.
FULL: dict[str, dict[str, Any]] = {
    "workspace-full": {
        "profile": "small-workspace",
        "steps": [["run", FILL.format("/workspace/f")]],
    },
    "disk-full": {
        "profile": "little-disk",
        "steps": [["run", FILL.format("/home/agentrun/f")]],
    },
}
GREEDY = {
    "memory-agent": {"profile": "grows"},
    "memory-tool": doing(["run", f'python3 -c "{GROW}"'], ["say", "it was killed"])
    | {"profile": "small"},
}
DISTURBED = {
    key: doing(["sleep", 600])
    for key in ("runner-killed", "memory-runner", "evicted", "pod-deleted")
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(impatient: Installation) -> Installation:
    await apply(*offered(NAMESPACE, PROFILES))
    return await asyncio.to_thread(impatient.within, NAMESPACE)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def runs(place: Installation) -> dict[str, str]:
    """A run for each row. What waits longest is spawned first, and looked at last."""
    return await place.spawn_all(FULL | GREEDY | DISTURBED)


@promised("memory-agent")
async def test_an_agent_that_takes_too_much_memory(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    await check_failure(place, runs[key], key)


@pytest.mark.failure("memory-tool")
async def test_a_tool_that_takes_too_much_memory(place: Installation, runs: dict[str, str]) -> None:
    # With cgroup v2 the kubelet has the whole container killed, agent and all.
    key = "memory-tool" if ON_CGROUP_V1 else "memory-agent"
    run = await check_failure(place, runs["memory-tool"], key)
    if ON_CGROUP_V1:
        assert run["result"]["summary"] == "it was killed"


async def _runner_of(place: Installation, run_id: str) -> int:
    """Wait for a run to work, and return the process of its runner."""
    return await runner_of((await place.reaches(run_id, "Running"))["podUID"])


@promised("runner-killed")
async def test_a_runner_that_is_killed(place: Installation, runs: dict[str, str], key: str) -> None:
    os.kill(await _runner_of(place, runs[key]), signal.SIGKILL)
    await check_failure(place, runs[key], key)


@promised("memory-runner")
async def test_a_runner_that_takes_too_much_memory(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    runner = await _runner_of(place, runs[key])
    await asyncio.to_thread(_fill_memory_of, runner)
    await check_failure(place, runs[key], key)


def _fill_memory_of(pid: int) -> None:
    """
    Fill the memory of a container until its process is ended for it.

    The runner itself stays small whatever its agent says, so another process grows in its control
    group, and the kernel is told to end the runner first.
    """
    Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")
    groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines()
    wanted = ":memory:" if ON_CGROUP_V1 else "0::"
    group = next(line.split(":")[2] for line in groups if wanted in line).lstrip("/")
    members = (MEMORY if ON_CGROUP_V1 else MEMORY.parent) / group / "cgroup.procs"
    subprocess.run([sys.executable, "-c", GUEST, str(members)], check=False, timeout=120)


@promised("evicted")
async def test_a_pod_that_is_evicted_through_the_api(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    await place.reaches(runs[key], "Running")
    pod = f"{runs[key]}-1"
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": NAMESPACE},
    }
    path = (await api().resource("pod")).path(NAMESPACE, pod, "eviction")
    await api().client.request("POST", path, body=eviction)
    await check_failure(place, runs[key], key)


@promised("pod-deleted")
async def test_a_pod_that_is_deleted_while_its_agent_works(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    await place.reaches(runs[key], "Running")
    await delete("pod", f"{runs[key]}-1", namespace=NAMESPACE)
    await check_failure(place, runs[key], key)


async def test_a_pod_that_is_deleted_before_its_agent_had_the_task_is_replaced(
    place: Installation,
) -> None:
    # The server is silent for a minute before git gives up, and so is the run.
    run_id = await place.trivial(["say", "hello"], workspace={"git": {"url": SILENT_REPOSITORY}})
    await place.reaches(run_id, "Starting", reason="Preparing")
    await delete("pod", f"{run_id}-1", namespace=NAMESPACE)
    await pod_of(run_id, 2, NAMESPACE)
    await place.client.cancel(run_id)


@promised(*FULL)
async def test_a_pod_that_fills_the_disk_is_evicted(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    await check_failure(place, runs[key], key)


@pytest.mark.failure("gateway-away")
@pytest.mark.disruptive
async def test_a_gateway_that_stays_unavailable(place: Installation) -> None:
    begun = await place.trivial(["say", "one"], ["run", UNTIL_GO])
    new = a_run(f"meets-no-gateway-{secrets.token_hex(4)}", NAMESPACE, prompt="never")
    both = (begun, new["metadata"]["name"])
    await place.reaches(begun, "Running")
    try:
        # Only then the agent ends: while it works, nobody misses the MCP server.
        await place.scale(MCP_SERVER, 0)
        await let_go(begun, NAMESPACE)
        await apply(new)
        await asyncio.gather(
            *(
                place.reaches(run_id, "Failed", reason="StoreUnavailable", seconds=150)
                for run_id in both
            )
        )
    finally:
        await place.scale(MCP_SERVER, 1)
    for run_id in both:
        await check_failure(place, run_id, "gateway-away")
