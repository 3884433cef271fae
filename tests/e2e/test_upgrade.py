"""Upgrading the product, and rolling it back, while runs work, wait and start."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from dev import images, product
from dev.front_door import TERMINAL, ToolFailed
from tests.e2e.checks import check_journal
from tests.e2e.cluster import Json, apply, eventually, get
from tests.e2e.conftest import profile
from tests.e2e.installations import Installation, provide, tagged
from tests.e2e.platform import SETTINGS, Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

RELEASE = product.Release("agentrun-upgrade", "upgrade-system", "upgrade-runs")
OLD, NEW = "before", "after"
FLAGS = ("--set", "profiles.claudeCode.enabled=false,operator.stuckTimeoutSeconds=600")
MESSAGES = 900
"""So many that the talk outlasts helm also on a busy machine."""


@pytest.fixture(scope="module")
def installation(platform: Platform) -> Iterator[Installation]:
    """The version before, which brings no kinds of its own."""
    made = Installation(platform.cluster, RELEASE, platform.door.token)
    for tag in (OLD, NEW):
        provide(platform.cluster, tag)
    try:
        made.install(*FLAGS, *tagged(OLD))
        yield made
    finally:
        made.remove()
        # The kinds are the main release's again, and as it has them.
        product.install(platform.cluster, *SETTINGS)


@pytest.fixture(scope="module")
def newer_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart of a version whose AgentRuns have one field more."""
    chart = tmp_path_factory.mktemp("newer") / "agentrun"
    shutil.copytree(product.CHART, chart)
    file = chart / "files" / "crds" / "agentruns.agentrun.dev.yaml"
    crd = yaml.safe_load(file.read_text(encoding="utf-8"))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["mood"] = {"type": "string", "maxLength": 16}
    file.write_text(yaml.safe_dump(crd), encoding="utf-8")
    about = chart / "Chart.yaml"
    about.write_text(about.read_text().replace("version: 0.1.0", "version: 0.2.0", 1))
    return chart


@dataclass
class Reader:
    """Polls a run as a client does that only knows to try again."""

    installation: Installation
    run_id: str
    events: list[Json] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    async def read(self) -> None:
        """Read to the end of the run."""
        cursor = 0
        with self.installation.door() as door:
            while True:
                arguments: Json = {"run_id": self.run_id, "after_seq": cursor, "wait_ms": 10_000}
                try:
                    page = await door.call("poll_events", **arguments)
                # Whatever the connection breaks with: the next call must work.
                except Exception as error:
                    if isinstance(error, ToolFailed) and "unavailable" not in str(error):
                        raise
                    self.refusals.append(repr(error))
                    await asyncio.sleep(0.2)  # Tries again, as a client does.
                    continue
                self.events += page["events"]
                cursor = page["next_after_seq"]
                if page["status"] in TERMINAL and not page["events"]:
                    return


@asynccontextmanager
async def reading(installation: Installation, run_id: str) -> AsyncIterator[Reader]:
    """Have a reader poll a run meanwhile; at the end it has read all of it."""
    reader = Reader(installation, run_id)
    task = asyncio.create_task(reader.read())
    try:
        yield reader
        async with asyncio.timeout(240):
            await task
    finally:
        task.cancel()


def check_talk(events: list[Json]) -> None:
    """A reader has got everything the agent said, each of it once."""
    check_journal(events, "completed")
    said = [event["data"]["text"] for event in events if event["type"] == "agent_message"]
    assert said == [f"message {number}" for number in range(1, MESSAGES + 1)]


def runner_image(pod: Json) -> str:
    (runner,) = [one for one in pod["spec"]["containers"] if one["name"] == "runner"]
    return str(runner["image"])


async def is_known(field: str) -> bool:
    """Whether the API server knows a field of an AgentRun's spec."""
    crd = await get("crd", "agentruns.agentrun.dev", "default")
    assert crd is not None
    schema: Any = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return field in schema["properties"]["spec"]["properties"]


def an_object(name: str, **spec: Any) -> Json:
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": RELEASE.runs},
        "spec": {"backend": "acp", "profile": "trivial", "prompt": 'do\n[["say", "hi"]]', **spec},
    }


async def test_an_upgrade_restarts_no_run_and_loses_no_event(
    installation: Installation, newer_chart: Path
) -> None:
    working = await installation.spawn(["talk", MESSAGES, 0.1], nickname="talker")
    tag = f"later-{uuid4().hex[:8]}"
    await apply(
        profile("late", RELEASE.runs, image=images.name_of("dev", tag)),
        an_object("waits", session={"name": "talker"}),
        an_object("starts", profile="late"),
    )
    await installation.reaches(working, "Running")
    await installation.reaches("waits", "Queued")
    await installation.reaches("starts", "Starting")
    before = {name: await installation.pod(name) for name in (working, "starts")}

    async with reading(installation, working) as reader:
        await eventually(lambda: seen(reader), lambda count: count > 10)
        await asyncio.to_thread(
            installation.install, *FLAGS, *tagged(NEW),
            "--set", "crds.enabled=true", "--set", "operator.resyncSeconds=11",
            chart=newer_chart,
        )  # fmt: skip
        await asyncio.to_thread(images.retag, installation.cluster, "dev", tag)

    check_talk(reader.events)
    assert reader.refusals, "the front door was never away: what was upgraded?"
    await installation.reaches("starts", "Completed")
    await installation.reaches("waits", "Completed")
    for name, pod in before.items():
        after = await installation.pod(name)
        assert after["metadata"]["uid"] == pod["metadata"]["uid"]
        assert runner_image(after).endswith(f"runner:{OLD}")
    assert runner_image(await installation.pod("waits")).endswith(f"runner:{NEW}")
    assert await is_known("mood")
    await apply(an_object("newer", mood="calm"))
    assert (await installation.run("newer"))["spec"]["mood"] == "calm"


async def seen(reader: Reader) -> int:
    return len(reader.events)


async def test_an_upgrade_that_changes_nothing_restarts_nothing(
    installation: Installation, newer_chart: Path
) -> None:
    before = await installation.own_pods()
    done = await installation.helm("upgrade", str(newer_chart), "--reuse-values", "--wait")
    assert done.returncode == 0, done.stderr
    assert await installation.own_pods() == before
    # Another version of the chart alone is no reason either.
    done = await installation.helm("upgrade", str(product.CHART), "--reuse-values", "--wait")
    assert done.returncode == 0, done.stderr
    assert await installation.own_pods() == before


async def test_a_rollback_restarts_no_run_and_loses_no_event(installation: Installation) -> None:
    working = await installation.spawn(["talk", MESSAGES, 0.05])
    await installation.reaches(working, "Running")
    pod = await installation.pod(working)
    assert runner_image(pod).endswith(f"runner:{NEW}")
    async with reading(installation, working) as reader:
        await eventually(lambda: seen(reader), lambda count: count > 10)
        done = await installation.helm("rollback", "1", "--wait")
        assert done.returncode == 0, done.stderr
    check_talk(reader.events)
    assert (await installation.pod(working))["metadata"]["uid"] == pod["metadata"]["uid"]
    later = await installation.spawn(["say", "as before"])
    await installation.reaches(later, "Completed")
    assert runner_image(await installation.pod(later)).endswith(f"runner:{OLD}")


async def test_a_hook_that_fails_says_why_and_the_next_upgrade_repairs_it(
    installation: Installation,
) -> None:
    before = await installation.own_pods()
    chart, again = str(product.CHART), ("--reuse-values", "--wait", "--timeout", "180s")
    done = await installation.helm(
        "upgrade", chart, *again, "--set", "profiles.codex.spec.backend=nobodys"
    )
    assert done.returncode != 0
    assert "post-upgrade hooks failed" in done.stderr
    assert "nobodys" in done.stdout + done.stderr
    repaired = await installation.helm(
        "upgrade", chart, *again, "--set", "profiles.codex.spec.backend=codex"
    )
    assert repaired.returncode == 0, repaired.stderr
    assert await installation.own_pods() == before
