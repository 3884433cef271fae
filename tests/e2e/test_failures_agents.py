"""
Runs whose workspace cannot be prepared, or whose agent program is not to be had, killed or hangs.

What else an agent program does wrong is seen within its pod: tests/unit/runner/test_failures.py.
"""

import asyncio
import secrets
from typing import Any

import pytest
import pytest_asyncio

from dev import product
from tests.e2e.cluster import Json, apply
from tests.e2e.failing import check_failure, doing, offered, python
from tests.e2e.installation import REPOSITORY, SILENT_REPOSITORY, Installation, a_run
from tests.failures import promised

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(420),
    pytest.mark.xdist_group("failures-agents"),
]

NAMESPACE = "impatient-agents"


def nobody(namespace: str) -> Json:
    """A Service behind which nobody is."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "nobody", "namespace": namespace},
        "spec": {"selector": {"app": "nobody"}, "ports": [{"port": 8080}]},
    }


WRONG = {
    "apiVersion": "v1",
    "kind": "Secret",
    "type": "kubernetes.io/basic-auth",
    "metadata": {"name": "wrong-account", "namespace": NAMESPACE},
    "stringData": {"username": "somebody", "password": "wrong-password"},
}
PROFILES: dict[str, dict[str, Any]] = {
    "clone-refused": {
        "git": {"credentialsSecret": "wrong-account", "plaintextCredentials": True},
        "workspace": {"git": {"url": f"{product.GIT}/private/demo.git"}},
    },
    "agent-missing": {"command": ["no-such-agent"]},
    "agent-killed": python("os.kill(os.getpid(), 9)"),
}


def cloning(url: str, **more: Any) -> dict[str, Any]:
    return {"profile": "trivial", "workspace": {"git": {"url": url, **more}}}


QUICK: dict[str, dict[str, Any]] = {
    "clone-ref": cloning(REPOSITORY, ref="no-such-branch"),
    "clone-no-account": cloning(f"{product.GIT}/private/demo.git"),
    "clone-refused": {},
    "clone-missing": cloning(f"{product.GIT}/no-such.git"),
    "clone-not-git": cloning("http://model.agentrun-dev.svc:8080/v1/models"),
    "clone-unknown-host": cloning("http://no-such-host.invalid/x.git"),
    "clone-closed-host": cloning("http://nobody.agentrun-dev.svc:8080/x.git"),
    "agent-missing": {},
    "agent-killed": {},
    "deadline": doing(["hang"], timeouts={"active_deadline_seconds": 5}),
}
LONG: dict[str, dict[str, Any]] = {
    # A minute each, by bounds of git.
    "clone-silent-host": cloning(SILENT_REPOSITORY),
    # Runs may not reach one another's namespace.
    "clone-blocked-host": cloning(f"http://nobody.{NAMESPACE}.svc:8080/x.git"),
}


# spawn_run refuses it at once, so it comes by kubectl.
OUTSIDE = a_run(
    f"works-outside-{secrets.token_hex(4)}", NAMESPACE, prompt="never", workspace={"cwd": "../etc"}
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(impatient: Installation) -> Installation:
    await apply(*offered(NAMESPACE, PROFILES), WRONG, nobody(NAMESPACE), nobody("agentrun-dev"))
    return await asyncio.to_thread(impatient.within, NAMESPACE)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def runs(place: Installation) -> dict[str, str]:
    """A run for each row: those that wait longest first, and the others while they do."""
    ids = await place.spawn_all(LONG)
    await apply(OUTSIDE)
    ids["folder-outside"] = OUTSIDE["metadata"]["name"]
    return ids | await place.spawn_all(QUICK)


@promised(*QUICK, *LONG)
async def test_a_failure_in_the_pod_ends_the_run_with_the_reason(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    run = await check_failure(place, runs[key], key)
    assert "wrong-password" not in str(run)


@promised("folder-outside")
async def test_a_folder_outside_of_the_workspace_is_refused(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    await check_failure(place, runs[key], key)
