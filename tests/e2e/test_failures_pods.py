"""Runs whose pod, or a part of it, is killed, evicted or deleted under them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import UNTIL_GO
from tests.e2e.cluster import apply, eventually, get, items, kubectl, let_go, runner_of
from tests.e2e.conftest import profile
from tests.e2e.failing import Place, promised
from tests.e2e.impatient import RELEASE
from tests.e2e.installations import FRONT_DOOR, ready

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAMESPACE = RELEASE.runs
DEPLOYMENT = f"deployment/{RELEASE.service}"
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


@pytest.fixture(scope="module")
def place(impatient: Place) -> Place:
    async def prepare() -> None:
        profiles = [profile(name, NAMESPACE, **spec) for name, spec in PROFILES.items()]
        await apply(*profiles, profile("trivial", NAMESPACE))
        # What takes the kubelet a while goes on while the other tests run.
        await impatient.spawn_all(
            {
                "workspace-full": {
                    "profile": "small-workspace",
                    "steps": [["run", FILL.format("/workspace/f")]],
                },
                "disk-full": {
                    "profile": "little-disk",
                    "steps": [["run", FILL.format("/home/agentrun/f")]],
                },
                "memory-agent": {"profile": "grows"},
            }
        )

    asyncio.run(prepare())
    return impatient


@promised("memory-agent")
async def test_an_agent_that_takes_too_much_memory(place: Place, key: str) -> None:
    await place.check(place.runs[key], key)


@pytest.mark.failure("memory-tool")
async def test_a_tool_that_takes_too_much_memory(place: Place) -> None:
    run_id = await place.spawn("small", ["run", f'python3 -c "{GROW}"'], ["say", "it was killed"])
    # With cgroup v2 the kubelet has the whole container killed, agent and all.
    run = await place.check(run_id, "memory-tool" if ON_CGROUP_V1 else "memory-agent")
    if ON_CGROUP_V1:
        assert run["result"]["summary"] == "it was killed"


async def _runner_of(place: Place, run_id: str) -> int:
    return await runner_of((await place.run(run_id))["status"]["podUID"])


@promised("runner-killed")
async def test_a_runner_that_is_killed(place: Place, key: str) -> None:
    run_id = await place.spawn("trivial", ["sleep", 600])
    await place.until(run_id, "Running")
    os.kill(await _runner_of(place, run_id), signal.SIGKILL)
    await place.check(run_id, key)


@promised("memory-runner")
async def test_a_runner_that_takes_too_much_memory(place: Place, key: str) -> None:
    run_id = await place.spawn("trivial", ["sleep", 600])
    await place.until(run_id, "Running")
    await asyncio.to_thread(_fill_memory_of, await _runner_of(place, run_id))
    await place.check(run_id, key)


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
    subprocess.run([sys.executable, "-c", GUEST, str(members)], check=False, timeout=60)


@promised("evicted")
async def test_a_pod_that_is_evicted_by_the_api_as_by_a_drain(place: Place, key: str) -> None:
    run_id = await place.spawn("trivial", ["sleep", 600])
    await place.until(run_id, "Running")
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": f"{run_id}-1", "namespace": NAMESPACE},
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{run_id}-1/eviction"
    await kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    await place.check(run_id, key)


@promised("pod-deleted")
async def test_a_pod_that_is_deleted_while_its_agent_works(place: Place, key: str) -> None:
    run_id = await place.spawn("trivial", ["sleep", 600])
    await place.until(run_id, "Running")
    await kubectl("delete", "pod", f"{run_id}-1", "-n", NAMESPACE, "--wait=false")
    await place.check(run_id, key)


async def test_a_pod_that_is_deleted_before_its_agent_had_the_task_is_replaced(
    place: Place,
) -> None:
    silent = {"git": {"url": "http://silent.agentrun-dev.svc:8080/x.git"}}
    run_id = await place.spawn("trivial", workspace=silent)
    await place.until(run_id, "Starting", "Preparing")
    await kubectl("delete", "pod", f"{run_id}-1", "-n", NAMESPACE, "--wait=false")
    second = await eventually(
        lambda: get("pod", f"{run_id}-2", NAMESPACE), lambda found: found is not None
    )
    assert second is not None
    await place.door.call("cancel_run", run_id=run_id, wait_ms=30_000)


@promised("workspace-full", "disk-full")
async def test_what_fills_the_disk_is_evicted(place: Place, key: str) -> None:
    await place.check(place.runs[key], key)


@pytest.mark.failure("gateway-away")
@pytest.mark.timeout(600)
async def test_a_gateway_that_stays_away(place: Place) -> None:
    begun = await place.spawn("trivial", ["say", "one"], ["run", UNTIL_GO])
    await place.until(begun, "Running")
    new = {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": "meets-no-gateway", "namespace": NAMESPACE},
        "spec": {"backend": "acp", "profile": "trivial", "prompt": "never"},
    }
    await kubectl("scale", DEPLOYMENT, "-n", RELEASE.system, "--replicas=0")
    try:
        # Only then the agent ends: while it works, nobody misses the front door.
        selector = f"app.kubernetes.io/component={FRONT_DOOR}"
        await eventually(
            lambda: items("pods", "-l", selector, namespace=RELEASE.system), lambda pods: not pods
        )
        await let_go(begun, NAMESPACE)
        await apply(new)
        for run_id in (begun, "meets-no-gateway"):
            await place.until(run_id, "Failed", "StoreUnavailable", 150)
    finally:
        await kubectl("scale", DEPLOYMENT, "-n", RELEASE.system, "--replicas=1")
        await kubectl("rollout", "status", DEPLOYMENT, "-n", RELEASE.system, "--timeout=90s")
        await ready(place.door)
    for run_id in (begun, "meets-no-gateway"):
        await place.check(run_id, "gateway-away")
