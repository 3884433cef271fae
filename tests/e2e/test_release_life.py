"""
The life of one release: upgraded, rolled back, broken and repaired, removed and made again, with
its namespace taken away, and at last with clocks that are hours off. Its runs bear all of it.

The tests are the stations of that life, in their order: to install anew for each would take longer
than the tests themselves.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from dev import images, product, skewed
from dev.mcp_client import McpClient
from tests.e2e.agents import trivial
from tests.e2e.checks import check_journal
from tests.e2e.clocks import BREAK, SLACK, Life, ended, lived
from tests.e2e.cluster import apply, eventually, get, kubectl, let_go, pod_of
from tests.e2e.installation import (
    MCP_SERVER,
    OPERATOR,
    Installation,
    a_run,
    profile,
    provide,
    reached,
    tagged,
)
from tests.e2e.life import (
    RELEASE,
    check_ends,
    delete_namespace,
    finalizers,
    is_known,
    newer_chart,
    only_pod,
    owner_of_kinds,
    reading,
    runner_image,
    runs_in_every_stage,
)
from tests.e2e.releases import SETTINGS
from tests.e2e.talks import Talk
from tests.events import said

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.own_release,
    pytest.mark.timeout(600),
]

OLD, NEW = "before", "after"
FLAGS = ("--set", "operator.stuckTimeoutSeconds=600")
GRACE_SECONDS = 120
"""Pods are looked at after their runs have ended: that nobody may have deleted them so far."""
SWITCHED_OFF = "claude-code"
"""The profile that the newer version does not have."""
NO_DEFAULTS = ("--set", "profiles.codex.enabled=false,profiles.claudeCode.enabled=false")
BOUNDS = ("--set", "operator.stuckTimeoutSeconds=30,operator.resyncSeconds=10")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def standing(platform: Installation) -> AsyncIterator[Installation]:
    """The version before, which brings no kinds of its own."""
    # Its client is the main release's: that one outlives the namespaces here.
    made = Installation(platform.cluster, RELEASE, platform.client)
    for tag in (OLD, NEW):
        await asyncio.to_thread(provide, platform.cluster, tag)
    try:
        yield await made.install(*FLAGS, *tagged(OLD), grace_seconds=GRACE_SECONDS)
    finally:
        await made.remove()


@pytest.fixture
def installation(standing: Installation) -> Iterator[Installation]:
    """The release as it is reached now: its Service comes and goes with it."""
    with reached(standing.cluster, standing.release) as url:
        yield standing.through(McpClient(f"{url}/mcp", standing.client.token))


async def test_an_upgrade_restarts_no_run_and_loses_no_event(
    installation: Installation, tmp_path: Path
) -> None:
    talk = Talk(200)
    working = await installation.trivial(*talk.steps, agent="talker")
    tag = f"later-{uuid4().hex[:8]}"
    hello = trivial(["say", "hi"])
    await apply(
        profile("late", RELEASE.runs, image=images.name_of("dev", tag)),
        a_run("waits", RELEASE.runs, prompt=hello, session={"name": "talker"}),
        a_run("starts", RELEASE.runs, prompt=hello, profile="late"),
    )
    await asyncio.gather(
        installation.reaches(working, "Running"),
        installation.reaches("waits", "Queued"),
        installation.reaches("starts", "Starting"),
        pod_of("starts", namespace=RELEASE.runs),
    )
    before = {name: await only_pod(name) for name in (working, "starts")}

    async with reading(installation.client, working) as reader:
        await eventually(reader.seen, lambda count: count > 10)
        await installation.install(
            *FLAGS, *tagged(NEW),
            "--set", "crds.enabled=true", "--set", "operator.resyncSeconds=11",
            "--set", "profiles.claudeCode.enabled=false",
            chart=newer_chart(tmp_path), grace_seconds=GRACE_SECONDS,
        )  # fmt: skip
        await asyncio.to_thread(images.retag, installation.cluster, "dev", tag)
        await let_go(working, RELEASE.runs)

    check_journal(reader.events, "completed")
    assert said(reader.events) == talk.texts
    assert reader.refusals, "the MCP server was never away: what was upgraded?"
    await asyncio.gather(*(installation.reaches(run, "Completed") for run in ("starts", "waits")))
    for name, pod in before.items():
        after = await only_pod(name)
        assert after["metadata"]["uid"] == pod["metadata"]["uid"]
        assert runner_image(after).endswith(f"runner:{OLD}")
    assert runner_image(await only_pod("waits")).endswith(f"runner:{NEW}")
    assert await is_known("mood")
    await apply(a_run("newer", RELEASE.runs, prompt=hello, mood="calm"))
    assert (await installation.run("newer"))["spec"]["mood"] == "calm"


async def test_a_profile_that_the_upgrade_disables_is_deleted(standing: Installation) -> None:
    assert await get("aprofile", SWITCHED_OFF, RELEASE.runs) is None
    assert await get("aprofile", "codex", RELEASE.runs)


async def test_an_upgrade_that_changes_nothing_restarts_nothing(
    installation: Installation,
) -> None:
    before = await installation.own_pods()
    # Another version of the chart alone is no reason either.
    done = await installation.helm(
        "upgrade", str(product.CHART), "--reset-then-reuse-values", "--wait"
    )
    assert done.returncode == 0, done.stderr
    assert await installation.own_pods() == before


async def test_a_rollback_restarts_no_run_and_loses_no_event(installation: Installation) -> None:
    talk = Talk(150)
    working = await installation.trivial(*talk.steps)
    await installation.reaches(working, "Running")
    pod = await only_pod(working)
    assert runner_image(pod).endswith(f"runner:{NEW}")
    async with reading(installation.client, working) as reader:
        await eventually(reader.seen, lambda count: count > 10)
        done = await installation.helm("rollback", "1", "--wait")
        assert done.returncode == 0, done.stderr
        await let_go(working, RELEASE.runs)
    check_journal(reader.events, "completed")
    assert said(reader.events) == talk.texts
    assert (await only_pod(working))["metadata"]["uid"] == pod["metadata"]["uid"]
    later = await installation.trivial(["say", "as before"])
    await installation.reaches(later, "Completed")
    assert runner_image(await only_pod(later)).endswith(f"runner:{OLD}")


async def test_a_profile_that_is_enabled_again_is_created_again(standing: Installation) -> None:
    assert await get("aprofile", SWITCHED_OFF, RELEASE.runs)


async def test_a_failed_hook_reports_the_reason_and_the_next_upgrade_recovers(
    installation: Installation,
) -> None:
    before = await installation.own_pods()
    chart, again = str(product.CHART), ("--reset-then-reuse-values", "--wait", "--timeout", "180s")
    # A rule that no schema can express: only the API server checks it.
    spec = "profiles.codex.spec"
    invalid = f"{spec}.backend=acp,{spec}.instructionFiles[0].text=x"
    done = await installation.helm("upgrade", chart, *again, "--set", invalid)
    assert done.returncode != 0
    assert "post-upgrade hooks failed" in done.stderr
    assert "an instruction file of backend acp needs a path" in done.stdout + done.stderr
    repaired = await installation.helm(
        "upgrade", chart, *again, "--set", f"{spec}.backend=codex",
        "--set-json", f"{spec}.instructionFiles=[]",
    )  # fmt: skip
    assert repaired.returncode == 0, repaired.stderr
    assert await installation.own_pods() == before


async def test_uninstalling_does_not_affect_runs_and_a_new_installation_adopts_them(
    installation: Installation,
) -> None:
    talk = Talk(100)
    over, working = await asyncio.gather(
        installation.trivial(["say", "remember me"]), installation.trivial(*talk.steps)
    )
    await asyncio.gather(
        installation.reaches(over, "Completed"), installation.reaches(working, "Running")
    )
    before = await only_pod(working)

    done = await installation.helm("uninstall", "--wait", "--timeout", "180s")
    assert done.returncode == 0, done.stderr
    assert await installation.own_pods() == {}
    for kind, name, namespace in (
        ("crd", "agentruns.agentrun.dev", ""),
        ("persistentvolumeclaim", RELEASE.service, RELEASE.system),
        ("networkpolicy", f"{RELEASE.name}-runs", RELEASE.runs),
        ("run", over, RELEASE.runs),
    ):
        assert await get(kind, name, namespace), f"{kind} {name} was not kept"
    assert await finalizers() == {}
    alone = await only_pod(working)
    assert alone["metadata"]["uid"] == before["metadata"]["uid"]
    assert alone["status"]["phase"] == "Running"

    installation = await installation.install(*NO_DEFAULTS)
    await let_go(working, RELEASE.runs)
    run, events = await installation.client.finish(working)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    check_journal(events, "completed")
    assert said(events) == talk.texts
    run, events = await installation.client.finish(over)
    assert run["status"] == "completed"
    check_journal(events, "completed")


@pytest.mark.failure("namespace-deleted")
async def test_a_namespace_is_deleted_with_all_its_runs_and_can_be_created_again(
    installation: Installation,
) -> None:
    expected = await runs_in_every_stage(installation)
    pods = await installation.own_pods()
    assert await finalizers() == {}
    await delete_namespace()
    await check_ends(installation, expected)
    assert await installation.own_pods() == pods
    logs = await kubectl(
        "logs", installation.deployment(OPERATOR), "-n", RELEASE.system, "--since=60s"
    )
    assert "Traceback" not in logs
    assert len(logs.splitlines()) < 100, logs

    installation = await installation.install(*NO_DEFAULTS)
    assert await installation.own_pods() == pods
    again = await installation.trivial(["say", "back"])
    run, _ = await installation.client.finish(again)
    assert run["status"] == "completed", run


async def test_a_namespace_is_deleted_while_agentrun_is_down_and_its_runs_are_closed_later(
    installation: Installation,
) -> None:
    expected = await runs_in_every_stage(installation)
    await asyncio.gather(installation.scale(OPERATOR, 0), installation.scale(MCP_SERVER, 0))
    await delete_namespace()
    await installation.scale(MCP_SERVER, 1)
    await check_ends(installation, expected)

    # The operator starts, too, where the only namespace that it looks after is not there.
    await installation.scale(OPERATOR, 1)
    await eventually(
        lambda: kubectl("logs", installation.deployment(OPERATOR), "-n", RELEASE.system),
        lambda logs: f"namespace {RELEASE.runs} is forbidden to the operator" in logs,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def off_hours(standing: Installation) -> Installation:
    """The release with an operator and runners whose clocks are hours off."""
    await asyncio.to_thread(skewed.provide, standing.cluster)
    tags = tagged(skewed.TAG, *skewed.HOURS)
    installation = await standing.install(*NO_DEFAULTS, *BOUNDS, *tags)
    await apply(profile("no-image", RELEASE.runs, image="localhost/agentrun/no-such-image:1"))
    return installation


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lives(off_hours: Installation) -> AsyncIterator[dict[str, "asyncio.Task[Life]"]]:
    """All at once: what they do is wait."""
    wanted = {
        "completes": lived(
            off_hours, "Completed", "Completed",
            ["talk", 20, 0.1], ["run", "true"], ["say", "done"],
        ),
        "deadline": lived(
            off_hours, "Failed", "DeadlineExceeded",
            ["hang"], timeouts={"active_deadline_seconds": 10},
        ),
        "person": lived(
            off_hours, "Failed", "InputTimeout",
            ["fail", "sign in first", -32000], timeouts={"input_timeout_seconds": 5},
        ),
        "patience": lived(off_hours, "Failed", "ImagePullFailed", profile="no-image"),
    }  # fmt: skip
    tasks = {name: asyncio.create_task(life) for name, life in wanted.items()}
    yield tasks
    for task in tasks.values():
        task.cancel()


async def test_clocks_that_are_hours_off_do_not_delay_a_cancellation(
    off_hours: Installation, lives: dict[str, "asyncio.Task[Life]"]
) -> None:
    since = datetime.now(UTC)
    name = await off_hours.trivial(["sleep", 600])
    await off_hours.reaches(name, "Running")
    deployment = off_hours.deployment(OPERATOR)
    for pod, namespace, container in (
        (deployment, RELEASE.system, "operator"),
        (f"{name}-1", RELEASE.runs, "runner"),
    ):
        told = await kubectl("exec", pod, "-n", namespace, "-c", container, "--", "date", "+%s")
        off = int(told) - time.time() - skewed.HOURS[container] * 3600
        assert abs(off) < 60, container
    logs = await kubectl("logs", deployment, "-n", RELEASE.system)
    assert re.search(r"the local clock differs from the API server's by -1(7999|800\d) s", logs), (
        logs
    )
    begin, now = time.monotonic(), datetime.now(UTC)
    answer = await off_hours.client.cancel(name)
    assert answer["status"] == "cancelled", answer
    assert time.monotonic() - begin < 120
    life = await ended(off_hours, name, "Cancelled", "CancelRequested", since, begin)
    assert now - BREAK <= life.at("cancelledAt") <= datetime.now(UTC) + BREAK
    life.check_times()


async def test_a_run_completes_although_clocks_are_wrong(
    lives: dict[str, "asyncio.Task[Life]"],
) -> None:
    life = await lives["completes"]
    assert life.status["result"]["summary"] == "done"
    assert life.check_times() < timedelta(minutes=2)


async def test_a_deadline_counts_real_seconds(lives: dict[str, "asyncio.Task[Life]"]) -> None:
    life = await lives["deadline"]
    assert timedelta(seconds=9) <= life.took <= timedelta(seconds=10) + SLACK, life.took
    assert life.check_times() >= timedelta(seconds=9)


async def test_the_wait_for_an_answer_counts_real_seconds(
    lives: dict[str, "asyncio.Task[Life]"],
) -> None:
    life = await lives["person"]
    assert "auth_required" in {event["type"] for event in life.events}
    assert timedelta(seconds=5) <= life.took <= timedelta(seconds=15) + SLACK, life.took
    life.check_times()


async def test_the_operators_timeouts_count_real_seconds(
    lives: dict[str, "asyncio.Task[Life]"],
) -> None:
    life = await lives["patience"]
    assert timedelta(seconds=29) <= life.took <= timedelta(seconds=34) + SLACK, life.took
    life.check_times()


# The main release is upgraded, of which others scale parts meanwhile.
@pytest.mark.alone
async def test_a_neighbouring_release_accepts_its_resources_and_restarts_nothing(
    platform: Installation,
) -> None:
    assert await owner_of_kinds() == RELEASE.name
    before = await platform.own_pods()
    await asyncio.to_thread(product.install, platform.cluster, *SETTINGS)
    assert await owner_of_kinds() == platform.release.name
    assert await platform.own_pods() == before
