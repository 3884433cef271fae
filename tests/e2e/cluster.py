"""
The cluster as the tests observe it: objects through the API server, processes through /proc.

There are two kinds of waits. ``until`` waits for an object with the watch of its kind, and is what
nearly every test needs. ``eventually`` polls, for state that no watch reports: processes, files and
the answers of servers.
"""

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from dev import product
from tests.e2e.agents import GO
from tests.e2e.kube import Json, Kube
from tests.waiting import LATE_SECONDS

__all__ = ["Json"]

T = TypeVar("T")
SYSTEM = product.SYSTEM
RUNS = product.RUNS
RUNNER = "agentrun.runner"
"""The runner's program, as its command line names it."""
LABEL_RUN = "agentrun.dev/run"

_AWAY = re.compile(
    "TLS handshake timeout|connection refused|i/o timeout|EOF|etcdserver: request timed out"
)
"""The errors that kubectl prints if the API server is unavailable, as on a busy machine."""
_LOOK_SECONDS = 0.1
_connected: list[Kube] = []


def connect(kube: Kube) -> None:
    """Set the API server that the functions below use."""
    _connected[:] = [kube]


def api() -> Kube:
    """Return the API server of the tests' cluster."""
    assert _connected, "only tests below tests/e2e have a cluster"
    return _connected[0]


async def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """
    Run kubectl and return its output. An error of kubectl fails the test with its message.

    Commands that only read are retried for a minute while the API server is unavailable.
    """
    end = time.monotonic() + (60 if arguments[0] == "get" else 0)
    while True:
        done = await called("kubectl", *arguments, stdin=stdin)
        is_away = done.returncode != 0 and _AWAY.search(done.stderr)
        if not is_away or time.monotonic() > end:
            break
        await asyncio.sleep(1)  # Between two tries, within the time limit.
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


async def called(*command: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, and return its output and exit code."""
    return await asyncio.to_thread(
        subprocess.run, command, input=stdin, capture_output=True, text=True, check=False
    )


async def apply(*objects: Json) -> None:
    """Create or change objects."""
    await api().apply(*objects)


async def get(kind: str, name: str, namespace: str = RUNS) -> Json | None:
    """Return an object in its current state, or None if it does not exist."""
    return await api().get(kind, name, namespace)


async def items(
    kind: str, *, labels: str = "", fields: str = "", namespace: str = RUNS
) -> list[Json]:
    """Return the objects of a namespace that match the selectors, in their current state."""
    return await api().items(kind, namespace, labels, fields)


async def delete(kind: str, *names: str, namespace: str = RUNS) -> None:
    """Delete objects without waiting for their end. A missing object is no error."""
    await asyncio.gather(*(api().delete(kind, name, namespace) for name in names))


@asynccontextmanager
async def held(*objects: Json) -> AsyncIterator[None]:
    """Create objects for the block, and delete them afterwards without waiting for their end."""
    try:
        # In order: what a pod mounts must exist before the pod.
        for one in objects:
            await apply(one)
        yield
    finally:
        for one in objects:
            metadata = one["metadata"]
            await delete(one["kind"], metadata["name"], namespace=metadata.get("namespace", ""))


async def merge(
    kind: str, name: str, body: Json, namespace: str = RUNS, subresource: str = ""
) -> None:
    """Merge ``body`` into an object, or into its subresource."""
    await api().merge(kind, name, namespace, body, subresource)


async def until(
    kind: str,
    name: str,
    is_so: Callable[[Json | None], bool],
    namespace: str = RUNS,
    seconds: float = LATE_SECONDS,
) -> Json | None:
    """Wait until ``is_so`` holds for an object (None while it does not exist), and return it."""
    return await api().until(kind, name, is_so, namespace, seconds)


async def there(kind: str, name: str, namespace: str = RUNS, seconds: float = LATE_SECONDS) -> Json:
    """Wait until an object exists, and return it."""
    found = await until(kind, name, lambda seen: seen is not None, namespace, seconds)
    assert found is not None
    return found


async def gone(kind: str, name: str, namespace: str = RUNS, seconds: float = LATE_SECONDS) -> None:
    """Wait until an object is gone."""
    await until(kind, name, lambda seen: seen is None, namespace, seconds)


async def eventually(
    look: Callable[[], Awaitable[T]], is_so: Callable[[T], bool], seconds: float = LATE_SECONDS
) -> T:
    """Poll ``look`` until ``is_so`` holds for its result; fail with the last result."""
    end = time.monotonic() + seconds
    while True:
        seen = await look()
        if is_so(seen):
            return seen
        assert time.monotonic() < end, f"not so after {seconds} s; last seen: {seen}"
        await asyncio.sleep(_LOOK_SECONDS)  # Polls, within the time limit.


async def answers(url: str, seconds: float) -> None:
    """Wait until the MCP server at ``url`` is ready."""
    async with httpx2.AsyncClient(timeout=2, verify=False) as http:

        async def status() -> int:
            try:
                return (await http.get(f"{url}/readyz")).status_code
            except httpx2.TransportError:
                return 0

        await eventually(status, lambda code: code == 200, seconds)


async def pod_of(run_id: str, attempt: int = 1, namespace: str = RUNS) -> Json:
    """Wait for the pod of an attempt and return it."""
    return await there("pod", f"{run_id}-{attempt}", namespace)


async def pod_uid(run_id: str) -> str:
    """
    Wait until a run has a pod, and return its uid, which stays in the status after the pod is gone.
    """
    run = await until("run", run_id, lambda run: bool(status_of(run).get("podUID")))
    return str(status_of(run)["podUID"])


def processes_of(uid: str) -> list[str]:
    """List the processes on this machine that belong to a pod, found by their control group."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            if uid in (process / "cgroup").read_text(encoding="utf-8"):
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(f"{process.name} {line}")
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended during the scan.
    return found


async def until_processes(
    uid: str, is_so: Callable[[list[str]], bool], seconds: float = LATE_SECONDS
) -> list[str]:
    """Wait until ``is_so`` holds for the processes of a pod, and return them."""
    return await eventually(lambda: asyncio.to_thread(processes_of, uid), is_so, seconds)


def pid_of(uid: str, program: str) -> int | None:
    """Find the process of a Python program in a pod."""
    for line in processes_of(uid):
        pid, _, command = line.partition(" ")
        if program in command and command.startswith("python"):
            return int(pid)
    return None


async def runner_of(uid: str) -> int:
    """Wait for the runner of a pod, and return its process id."""
    pid = await eventually(
        lambda: asyncio.to_thread(pid_of, uid, RUNNER), lambda pid: pid is not None
    )
    assert pid is not None
    return pid


async def let_go(run_id: str, namespace: str = RUNS) -> None:
    """Let an agent continue that waits with ``agents.UNTIL_GO`` in its run's first pod."""
    await kubectl("exec", f"{run_id}-1", "-n", namespace, "-c", "agent", "--", "touch", GO)


def kill(pod: Json) -> None:
    """Kill every process of a pod, as in a crash; the kubelet restarts its containers."""
    for line in processes_of(pod["metadata"]["uid"]):
        if "/pause" not in line:
            with suppress(ProcessLookupError):  # The kernel ended it with its pod's first process.
                os.kill(int(line.split()[0]), signal.SIGKILL)


async def dev(*arguments: str) -> None:
    """Run the development tool, for instance to restart a component of the cluster."""
    done = await called("python", "-m", "dev", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def status_of(run: Json | None) -> dict[str, Any]:
    """Return a run's status; empty before the operator has set it."""
    status: dict[str, Any] = (run or {}).get("status", {})
    return status
