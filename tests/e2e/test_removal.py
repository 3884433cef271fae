"""Removing the product, or parts of what it stands on: nothing hangs, and what is kept is found."""

import json
import re
from collections.abc import Iterator

import pytest

from dev import product
from dev.failures import find
from tests.e2e.checks import check_journal
from tests.e2e.cluster import Json, eventually, get, items, kubectl
from tests.e2e.installations import FRONT_DOOR, OPERATOR, Installation
from tests.e2e.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

RELEASE = product.Release("agentrun-removal", "removal-system", "removal-runs")
NO_DEFAULTS = ("--set", "profiles.codex.enabled=false,profiles.claudeCode.enabled=false")
TALK = ["talk", 300, 0.1]


@pytest.fixture(scope="module")
def installation(platform: Platform) -> Iterator[Installation]:
    made = Installation(platform.cluster, RELEASE, platform.door.token)
    try:
        made.install(*NO_DEFAULTS)
        yield made
    finally:
        made.remove()


async def finalizers(namespace: str) -> dict[str, list[str]]:
    """Return the finalizers of everything that is ours, by kind and name."""
    kinds = "runs,agentsessions,agentprofiles,pods"
    return {
        f"{one['kind']}/{one['metadata']['name']}": found
        for one in await items(kinds, namespace=namespace)
        if (found := one["metadata"].get("finalizers"))
    }


async def runs_in_every_stage(installation: Installation) -> dict[str, str]:
    """Have a run that works, one that waits behind it, one that cannot start, one that is over."""
    over = await installation.spawn(["say", "done"])
    await installation.reaches(over, "Completed")
    working = await installation.spawn(["sleep", 300], nickname="busy")
    await installation.reaches(working, "Running")
    spec = {"backend": "acp", "profile": "trivial", "prompt": "do\n[]", "session": {"name": "busy"}}
    stuck = {"backend": "acp", "profile": "stuck", "prompt": "do\n[]"}
    profile: Json = json.loads(
        await kubectl("get", "aprofile", "trivial", "-n", RELEASE.runs, "-o", "json")
    )
    absent = {**profile["spec"], "image": "localhost/agentrun/no-such-image:1"}
    await apply(
        an_object("AgentProfile", "stuck", absent),
        an_object("AgentRun", "waits", spec),
        an_object("AgentRun", "stuck", stuck),
    )
    await installation.reaches("waits", "Queued")
    await installation.reaches("stuck", "Starting")
    return {over: "completed", working: "cancelled", "waits": "cancelled", "stuck": "cancelled"}


def an_object(kind: str, name: str, spec: Json) -> Json:
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": RELEASE.runs},
        "spec": spec,
    }


async def apply(*objects: Json) -> None:
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    await kubectl("apply", "-f", "-", stdin=document)


async def ends(installation: Installation, expected: dict[str, str]) -> None:
    """Wait until the journals of runs whose namespace is gone are at their end."""
    with installation.door() as door:
        for name, status in expected.items():
            run, events = await door.finish(name)
            assert run["status"] == status, run
            check_journal(events, status)
            if status == "cancelled":
                assert run["reason"] == "Deleted", run
                assert re.search(find("namespace-deleted").message, run["message"]), run


async def test_uninstalling_leaves_runs_alone_and_another_installation_takes_them_up(
    installation: Installation,
) -> None:
    over = await installation.spawn(["say", "remember me"])
    await installation.reaches(over, "Completed")
    working = await installation.spawn(TALK)
    await installation.reaches(working, "Running")
    before = await installation.pod(working)

    done = await installation.helm("uninstall", "--wait", "--timeout", "180s")
    assert done.returncode == 0, done.stderr
    assert await installation.own_pods() == {}
    for kind, name, namespace in (
        ("crd", "agentruns.agentrun.dev", "default"),
        ("persistentvolumeclaim", RELEASE.service, RELEASE.system),
        ("networkpolicy", f"{RELEASE.name}-runs", RELEASE.runs),
        ("run", over, RELEASE.runs),
    ):
        assert await get(kind, name, namespace), f"{kind} {name} was not kept"
    assert await finalizers(RELEASE.runs) == {}
    alone = await installation.pod(working)
    assert alone["metadata"]["uid"] == before["metadata"]["uid"]
    assert alone["status"]["phase"] == "Running"

    installation.install(*NO_DEFAULTS)
    with installation.door() as door:
        run, events = await door.finish(working)
        assert (run["status"], run["attempts"]) == ("completed", 1), run
        check_journal(events, "completed")
        said = [event["data"]["text"] for event in events if event["type"] == "agent_message"]
        assert said == [f"message {number}" for number in range(1, TALK[1] + 1)]  # type: ignore[operator]
        run, events = await door.finish(over)
        assert run["status"] == "completed"
        check_journal(events, "completed")


@pytest.mark.failure("namespace-deleted")
async def test_a_namespace_goes_with_all_its_runs_and_can_be_made_again(
    installation: Installation,
) -> None:
    expected = await runs_in_every_stage(installation)
    pods = await installation.own_pods()
    assert await finalizers(RELEASE.runs) == {}
    await kubectl("delete", "namespace", RELEASE.runs, "--timeout=180s")
    await ends(installation, expected)
    assert await installation.own_pods() == pods
    logs = await kubectl(
        "logs", f"deployment/{RELEASE.name}-{OPERATOR}", "-n", RELEASE.system, "--since=60s"
    )
    assert "Traceback" not in logs
    assert len(logs.splitlines()) < 100, logs

    installation.install(*NO_DEFAULTS)
    assert await installation.own_pods() == pods
    again = await installation.spawn(["say", "back"])
    with installation.door() as door:
        run, _ = await door.finish(again)
    assert run["status"] == "completed", run


async def test_a_namespace_goes_also_with_the_product_away_and_its_runs_are_closed_later(
    installation: Installation,
) -> None:
    expected = await runs_in_every_stage(installation)
    await installation.scale(OPERATOR, 0)
    await installation.scale(FRONT_DOOR, 0)
    await kubectl("delete", "namespace", RELEASE.runs, "--timeout=180s")
    await installation.scale(FRONT_DOOR, 1)
    await ends(installation, expected)

    # The operator starts, too, where the only namespace that it looks after is not there.
    await installation.scale(OPERATOR, 1)
    status = f"deployment/{RELEASE.name}-{OPERATOR}"
    await eventually(
        lambda: kubectl("logs", status, "-n", RELEASE.system),
        lambda logs: f"namespace {RELEASE.runs} is closed to the operator" in logs,
    )
