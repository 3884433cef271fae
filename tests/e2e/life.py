"""Helpers for the tests of a release's life: readers, runs in every stage, pods."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import yaml

from agentrun.api.status import TERMINAL_STATUSES
from dev import product
from dev.failures import find
from dev.mcp_client import McpClient, ToolCallError
from tests.e2e.checks import check_journal
from tests.e2e.cluster import LABEL_RUN, Json, apply, delete, get, gone, items
from tests.e2e.installation import Installation, a_run, profile

RELEASE = product.Release("agentrun-life", "life-system", "life-runs")
_OURS = ("runs", "agentsessions", "agentprofiles", "pods")


def newer_chart(folder: Path) -> Path:
    """Make the chart of a version whose AgentRuns have one more field."""
    chart = folder / "agentrun"
    shutil.copytree(product.CHART, chart)
    file = chart / "files" / "crds" / "agentruns.agentrun.dev.yaml"
    crd = yaml.safe_load(file.read_text(encoding="utf-8"))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["mood"] = {"type": "string", "maxLength": 16}
    file.write_text(yaml.safe_dump(crd), encoding="utf-8")
    about = chart / "Chart.yaml"
    about.write_text(about.read_text().replace("version: 0.1.0", "version: 0.2.0", 1))
    return chart


async def owner_of_kinds() -> str:
    """Return the Helm release that owns the AgentRun CRD."""
    owner: str = (await _crd())["metadata"]["annotations"]["meta.helm.sh/release-name"]
    return owner


async def is_known(field_name: str) -> bool:
    """Return whether the API server knows a field of an AgentRun's spec."""
    schema: Any = (await _crd())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return field_name in schema["properties"]["spec"]["properties"]


async def _crd() -> Json:
    crd = await get("crd", "agentruns.agentrun.dev", "")
    assert crd is not None
    return crd


async def only_pod(name: str) -> Json:
    """Return the pod of a run that has had no other."""
    (found,) = await items("pods", labels=f"{LABEL_RUN}={name}", namespace=RELEASE.runs)
    return found


def runner_image(pod: Json) -> str:
    """Return the image of a pod's runner."""
    (runner,) = [one for one in pod["spec"]["containers"] if one["name"] == "runner"]
    return str(runner["image"])


async def finalizers() -> dict[str, list[str]]:
    """Return the finalizers of all AgentRun objects, by kind and name."""
    listed = await asyncio.gather(*(items(kind, namespace=RELEASE.runs) for kind in _OURS))
    return {
        f"{kind}/{one['metadata']['name']}": found
        for kind, some in zip(_OURS, listed, strict=True)
        for one in some
        if (found := one["metadata"].get("finalizers"))
    }


async def delete_namespace() -> None:
    """Delete the namespace of the runs with all its objects, and wait for that."""
    await delete("namespace", RELEASE.runs, namespace="")
    await gone("namespace", RELEASE.runs, "", 180)


@dataclass
class Reader:
    """Polls a run as a client does that only retries."""

    client: McpClient
    run_id: str
    events: list[Json] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    async def read(self) -> None:
        """Read to the end of the run."""
        cursor = 0
        while True:
            arguments: Json = {"run_id": self.run_id, "after_seq": cursor, "wait_ms": 10_000}
            try:
                page = await self.client.call("poll_events", **arguments)
            # Any error of the connection: the next call must succeed.
            except Exception as error:
                if isinstance(error, ToolCallError) and "unavailable" not in str(error):
                    raise
                self.refusals.append(repr(error))
                await asyncio.sleep(0.2)  # Retries, as a client does.
                continue
            self.events += page["events"]
            cursor = page["next_after_seq"]
            if page["status"] in TERMINAL_STATUSES and not page["events"]:
                return

    async def seen(self) -> int:
        """Return how many events it has read."""
        return len(self.events)


@asynccontextmanager
async def reading(client: McpClient, run_id: str) -> AsyncIterator[Reader]:
    """Poll a run during the block; at the end all of its events have been read."""
    reader = Reader(client, run_id)
    task = asyncio.create_task(reader.read())
    try:
        yield reader
        async with asyncio.timeout(240):
            await task
    finally:
        task.cancel()


async def runs_in_every_stage(installation: Installation) -> dict[str, str]:
    """
    Have one run that works, one queued behind it, one that cannot start, and one that has finished.

    Returns how each of them ends when the namespace is deleted.
    """
    over, working = await asyncio.gather(
        installation.trivial(["say", "done"]),
        installation.trivial(["sleep", 300], agent="busy"),
    )
    # The journals outlive the namespace, so reused names would mean the earlier runs.
    waits, stuck = f"waits-{token_hex(4)}", f"stuck-{token_hex(4)}"
    await installation.reaches(working, "Running")
    await apply(
        profile("stuck", RELEASE.runs, image="localhost/agentrun/no-such-image:1"),
        a_run(waits, RELEASE.runs, session={"name": "busy"}),
        a_run(stuck, RELEASE.runs, profile="stuck"),
    )
    await asyncio.gather(
        installation.reaches(over, "Completed"),
        installation.reaches(waits, "Queued"),
        installation.reaches(stuck, "Starting"),
    )
    return {over: "completed", working: "cancelled", waits: "cancelled", stuck: "cancelled"}


async def check_ends(installation: Installation, expected: dict[str, str]) -> None:
    """Wait for the ends of runs whose namespace is gone, and check their journals."""
    async with asyncio.TaskGroup() as tasks:
        for name, status in expected.items():
            tasks.create_task(_check_end(installation, name, status))


async def _check_end(installation: Installation, name: str, status: str) -> None:
    run, events = await installation.client.finish(name)
    assert run["status"] == status, run
    check_journal(events, status)
    if status == "cancelled":
        assert run["reason"] == "Deleted", run
        assert re.search(find("namespace-deleted").message, run["message"]), run
