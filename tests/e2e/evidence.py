"""Evidence for a failed test: its runs, their pods and logs, in one report."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dev.mcp_client import McpClient

_RUNS_SHOWN = 5
_LINES = 80
_SECONDS = 20


def of(item: pytest.Item, call: pytest.CallInfo[None], traceback: str) -> tuple[str, str]:
    """
    Collect the cluster's data on the runs that a test spawned or that its traceback names.

    Returns the title and text of a section of the test's report. If AGENTRUN_RESULTS is set, the
    text is also written to a file below that folder.
    """
    text = "\n".join(_sections(call.start, traceback))
    folder = os.environ.get("AGENTRUN_RESULTS")
    if folder:
        name = re.sub(r"[^\w.-]+", "_", item.nodeid).strip("_")[-150:]
        file = Path(folder) / "failed" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{traceback}\n{text}\n", encoding="utf-8")
    return "the cluster, as the test left it", text


def _sections(start: float, traceback: str) -> Iterator[str]:
    since = datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name, seconds = os.environ.get("AGENTRUN_CLUSTER"), time.time() - start
    yield f"cluster {name}, from {since} on, for {seconds:.0f} s"
    listed = _kubectl(
        "get",
        "runs",
        "-A",
        "--no-headers",
        "-o",
        "custom-columns=:metadata.namespace,:metadata.name",
    )
    known = [tuple(line.split()) for line in listed.splitlines() if len(line.split()) == 2]
    spawned = McpClient.spawned(start)
    wanted = [one for one in known if one[1] in spawned or one[1] in traceback]
    for namespace, name in wanted[-_RUNS_SHOWN:]:
        yield from _about_run(namespace, name)
    yield _shown("get", "events", "-A", "--sort-by=.lastTimestamp", lines=40)
    pods = ("get", "pods", "-A", "-o", "wide")
    yield _shown(*pods, "--field-selector=status.phase!=Succeeded", lines=60)
    for system in _systems():
        for component in ("operator", "mcp"):
            selector = f"app.kubernetes.io/component={component}"
            where = ("-n", system, "-l", selector, f"--since-time={since}", f"--tail={_LINES}")
            yield _shown("logs", *where, "--prefix")


def _about_run(namespace: str, name: str) -> Iterator[str]:
    yield _shown("get", "run", name, "-n", namespace, "-o", "yaml", lines=200)
    for pod in _kubectl(
        "get", "pods", "-n", namespace, "-l", f"agentrun.dev/run={name}", "-o", "name"
    ).split():
        yield _shown("describe", pod, "-n", namespace, lines=150)
        logs = ("logs", pod, "-n", namespace, f"--tail={_LINES}")
        yield _shown(*logs, "--all-containers", "--prefix")


def _systems() -> list[str]:
    selector = ("-l", "app.kubernetes.io/component=operator")
    columns = "custom-columns=:metadata.namespace"
    listed = _kubectl("get", "deployments", "-A", *selector, "--no-headers", "-o", columns)
    return listed.split()


def _shown(*arguments: str, lines: int = _LINES) -> str:
    text = _kubectl(*arguments).rstrip()
    return f"$ kubectl {' '.join(arguments)}\n" + "\n".join(text.splitlines()[-lines:]) + "\n"


def _kubectl(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["kubectl", *arguments], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"({error})"
    return done.stdout + done.stderr
