"""Clocks that are hours off, at the operator and at the runner: bounds count real seconds."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from dev import images, product
from tests.e2e.checks import check_journal
from tests.e2e.cluster import Json, apply, eventually, kubectl
from tests.e2e.conftest import profile
from tests.e2e.installations import OPERATOR, Installation, tagged
from tests.e2e.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

RELEASE = product.Release("agentrun-clocks", "clocks-system", "clocks-runs")
NO_DEFAULTS = ("--set", "profiles.codex.enabled=false,profiles.claudeCode.enabled=false")
BOUNDS = ("--set", "operator.stuckTimeoutSeconds=30,operator.resyncSeconds=10")
TAG = "skewed"
HOURS = {"operator": 5, "runner": -5}
SLACK = timedelta(minutes=3)
"""What a busy machine may add; the error that is looked for is of hours."""
BREAK = timedelta(seconds=7)
"""Times have no fractions, and the operator does not correct less than a few seconds."""


def off_by(hours: int) -> list[str]:
    """What makes an image in which every program's clock is hours off; timers go on as ever."""
    return [
        "USER 0:0",
        "RUN apt-get update && apt-get install -y --no-install-recommends libfaketime"
        " && ln -s /usr/lib/*/faketime/libfaketime.so.1 /usr/local/lib/libfaketime.so.1"
        " && rm -rf /var/lib/apt/lists/*",
        "ENV LD_PRELOAD=/usr/local/lib/libfaketime.so.1 FAKETIME_DONT_FAKE_MONOTONIC=1"
        f" NO_FAKE_STAT=1 FAKETIME={hours:+d}h",
        "USER 1000:1000",
    ]


@pytest.fixture(scope="module")
def installation(platform: Platform) -> Iterator[Installation]:
    for target, hours in HOURS.items():
        images.vary(platform.cluster, target, TAG, *off_by(hours))
    made = Installation(platform.cluster, RELEASE, platform.door.token)
    try:
        made.install(*NO_DEFAULTS, *BOUNDS, *tagged(TAG, *HOURS))
        yield made
    finally:
        made.remove()


def at(status: Json, field: str) -> datetime:
    return datetime.fromisoformat(status[field])


def check_times(status: Json, since: datetime) -> timedelta:
    """Compare the times in a status with each other and with the real ones; say how long it took"""
    start, end = at(status, "startTime"), at(status, "completionTime")
    assert since - BREAK <= start <= end <= datetime.now(UTC) + BREAK, status
    for condition in status["conditions"]:
        changed = at(condition, "lastTransitionTime")
        assert start - BREAK <= changed <= end + BREAK, condition
    return end - start


async def ended(installation: Installation, name: str, phase: str, reason: str) -> Json:
    """Wait for a run's end, with its journal, and return its status."""
    with installation.door() as door:
        run, events = await door.finish(name)
    assert (run["status"], run["reason"]) == (phase.lower(), reason), run
    check_journal(events, phase.lower())
    status: Json = (await installation.run(name))["status"]
    return status


async def test_the_clocks_are_off_indeed(installation: Installation) -> None:
    name = await installation.spawn(["sleep", 600])
    await installation.reaches(name, "Running")
    deployment = f"deployment/{RELEASE.name}-{OPERATOR}"
    for pod, namespace, container, hours in (
        (deployment, RELEASE.system, OPERATOR, HOURS["operator"]),
        (f"{name}-1", RELEASE.runs, "runner", HOURS["runner"]),
    ):
        told = await kubectl("exec", pod, "-n", namespace, "-c", container, "--", "date", "+%s")
        assert abs(int(told) - time.time() - hours * 3600) < 60, container
    logs = await kubectl("logs", deployment, "-n", RELEASE.system)
    assert re.search(r"the clock here differs from the API server's by -1(7999|800\d) s", logs), (
        logs
    )
    # And a cancellation is none the slower.
    begin, now = time.monotonic(), datetime.now(UTC)
    with installation.door() as door:
        answer = await door.cancel(name)
    assert answer["status"] == "cancelled", answer
    assert time.monotonic() - begin < 120
    status = await ended(installation, name, "Cancelled", "CancelRequested")
    assert now - BREAK <= at(status, "cancelledAt") <= datetime.now(UTC) + BREAK
    check_times(status, now - timedelta(minutes=3))


async def test_a_run_completes(installation: Installation) -> None:
    now = datetime.now(UTC)
    name = await installation.spawn(["talk", 20, 0.1], ["run", "true"], ["say", "done"])
    status = await ended(installation, name, "Completed", "Completed")
    assert status["result"]["summary"] == "done"
    assert check_times(status, now) < timedelta(minutes=2)


async def test_a_deadline_counts_real_seconds(installation: Installation) -> None:
    now, begin = datetime.now(UTC), time.monotonic()
    name = await installation.spawn(["hang"], timeouts={"active_deadline_seconds": 10})
    status = await ended(installation, name, "Failed", "DeadlineExceeded")
    took = timedelta(seconds=time.monotonic() - begin)
    assert timedelta(seconds=9) <= took <= timedelta(seconds=10) + SLACK, took
    assert check_times(status, now) >= timedelta(seconds=9)


async def test_the_wait_for_a_person_counts_real_seconds(installation: Installation) -> None:
    now, begin = datetime.now(UTC), time.monotonic()
    wait = {"input_timeout_seconds": 5}
    name = await installation.spawn(["fail", "sign in first", -32000], timeouts=wait)
    status = await ended(installation, name, "Failed", "InputTimeout")
    took = timedelta(seconds=time.monotonic() - begin)
    with installation.door() as door:
        _, events = await door.finish(name)
    assert "auth_required" in {event["type"] for event in events}
    assert timedelta(seconds=5) <= took <= timedelta(seconds=15) + SLACK, took
    check_times(status, now)


async def test_the_operators_patience_counts_real_seconds(installation: Installation) -> None:
    image = {"image": "localhost/agentrun/no-such-image:1"}
    await apply(profile("no-image", RELEASE.runs, **image))
    now, begin = datetime.now(UTC), time.monotonic()
    name = await installation.spawn(profile="no-image")

    async def reason() -> str:
        return str((await installation.run(name)).get("status", {}).get("reason"))

    await eventually(reason, lambda found: found == "ImagePullFailed", 120)
    status = await ended(installation, name, "Failed", "ImagePullFailed")
    took = timedelta(seconds=time.monotonic() - begin)
    assert timedelta(seconds=29) <= took <= timedelta(seconds=34) + SLACK, took
    check_times(status, now)
