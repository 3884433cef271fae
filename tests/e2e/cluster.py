"""The cluster as the tests see it: objects through kubectl, processes through /proc."""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from tests.e2e.agents import GO

Json = dict[str, Any]
T = TypeVar("T")
SYSTEM = "agentrun-system"
RUNS = "agents"
RUNNER = "agentrun.runner"
"""The runner's program, as its command line names it."""


_AWAY = re.compile(
    "TLS handshake timeout|connection refused|i/o timeout|EOF|etcdserver: request timed out"
)
"""What kubectl says of an API server that a busy machine keeps from answering."""


async def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """
    Run kubectl; an error of it is an error of the test, with what it said.

    What only reads is repeated for a minute while the API server is away.
    """
    end = time.monotonic() + (60 if arguments[0] == "get" else 0)
    while True:
        done = await asyncio.to_thread(
            subprocess.run,
            ["kubectl", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        is_away = done.returncode != 0 and _AWAY.search(done.stderr)
        if not is_away or time.monotonic() > end:
            break
        await asyncio.sleep(1)  # Between two tries, within the bound.
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


async def apply(*objects: Json) -> None:
    """Create or change objects."""
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    await kubectl("apply", "-f", "-", stdin=document)


async def get(kind: str, name: str, namespace: str = RUNS) -> Json | None:
    """Return an object, or None if it is not there."""
    text = await kubectl("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "json")
    found: Json | None = json.loads(text) if text.strip() else None
    return found


async def items(kind: str, *selection: str, namespace: str = RUNS) -> list[Json]:
    """Return the objects that ``selection`` (kubectl's flags) chooses."""
    found: list[Json] = json.loads(
        await kubectl("get", kind, "-n", namespace, "-o", "json", *selection)
    )["items"]
    return found


async def eventually(
    look: Callable[[], Awaitable[T]], is_so: Callable[[T], bool], seconds: float = 120
) -> T:
    """Look until ``is_so``; fail with what was last seen."""
    end = time.monotonic() + seconds
    while True:
        seen = await look()
        if is_so(seen):
            return seen
        assert time.monotonic() < end, f"not so after {seconds} s; last seen: {seen}"
        await asyncio.sleep(0.05)  # Looks again, within the bound.


async def answers(url: str, seconds: float) -> None:
    """Wait until the front door at ``url`` says that it is ready."""

    async def status() -> int:
        try:
            async with httpx2.AsyncClient(timeout=2) as http:
                return (await http.get(f"{url}/readyz")).status_code
        except httpx2.TransportError:
            return 0

    await eventually(status, lambda code: code == 200, seconds)


async def phase_of(run_id: str) -> str:
    """Return a run's phase; empty before the operator saw it."""
    run = await get("run", run_id)
    assert run is not None, f"{run_id} is gone"
    phase: str = run.get("status", {}).get("phase", "")
    return phase


async def pod_uid(run_id: str, attempt: int = 1) -> str:
    """Wait for the pod of an attempt and return its uid."""
    pod = await eventually(
        lambda: get("pod", f"{run_id}-{attempt}"), lambda found: found is not None
    )
    assert pod is not None
    uid: str = pod["metadata"]["uid"]
    return uid


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
            continue  # It ended while we looked.
    return found


def pid_of(uid: str, program: str) -> int | None:
    """Find the process of a Python program in a pod."""
    for line in processes_of(uid):
        pid, _, command = line.partition(" ")
        if program in command and command.startswith("python"):
            return int(pid)
    return None


async def runner_of(uid: str) -> int:
    """Wait for the runner of a pod to be there, and return its process."""
    pid = await eventually(
        lambda: asyncio.to_thread(pid_of, uid, RUNNER), lambda pid: pid is not None
    )
    assert pid is not None
    return pid


async def let_go(run_id: str, namespace: str = RUNS) -> None:
    """Let an agent go on that waits with ``agents.UNTIL_GO`` in its run's first pod."""
    await kubectl("exec", f"{run_id}-1", "-n", namespace, "-c", "agent", "--", "touch", GO)


async def kill_component(component: str) -> None:
    """Kill every process of a component's pod with SIGKILL, as a crash would."""
    pods = await items("pods", "-l", f"app.kubernetes.io/component={component}", namespace=SYSTEM)
    alive = [
        pod
        for pod in pods
        if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]
    assert alive, f"no pod of {component} runs"
    for line in processes_of(alive[0]["metadata"]["uid"]):
        pid, _, command = line.partition(" ")
        if "python" in command:
            with suppress(ProcessLookupError):  # The kernel ended it with its pod's first process.
                os.kill(int(pid), signal.SIGKILL)


async def dev(*arguments: str) -> None:
    """Run the development tool, for instance to restart a component of the cluster."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["python", "-m", "dev", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
