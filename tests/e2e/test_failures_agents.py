"""Runs whose workspace cannot be prepared, or whose agent program misbehaves."""

import asyncio
import json
from typing import Any

import pytest

from dev import product
from tests.e2e.cluster import apply
from tests.e2e.conftest import profile
from tests.e2e.failing import Place, promised
from tests.e2e.impatient import RELEASE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

NAMESPACE = RELEASE.runs


def nobody(namespace: str) -> dict[str, Any]:
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
INITIALIZED = json.dumps({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": 1}})


def python(*lines: str) -> dict[str, Any]:
    """A profile's command: a program in Python."""
    return {"command": ["python3", "-c", "\n".join(("import os, sys, time", *lines))]}


FOREIGN = (
    "program = bytearray(open(sys.executable, 'rb').read())",
    "program[18:20] = bytes([8, 0])",
    "open('/tmp/agent', 'wb').write(program)",
    "os.chmod('/tmp/agent', 0o755)",
    "os.execv('/bin/sh', ['sh', '-c', 'exec /tmp/agent'])",
)
PROFILES: dict[str, dict[str, Any]] = {
    "clone-refused": {
        "git": {"credentialsSecret": "wrong-account"},
        "workspace": {"git": {"url": f"{product.GIT}/private/demo.git"}},
    },
    "agent-missing": {"command": ["no-such-agent"]},
    "agent-foreign": python(*FOREIGN),
    "agent-exits-early": python("sys.exit(0)"),
    "agent-killed": python("os.kill(os.getpid(), 9)"),
    # The sleeps here are agents that say nothing more, which is what is tried.
    "agent-mute": python("time.sleep(1e6)"),
    "agent-garbage": python("print('Welcome to the agent!', flush=True)", "time.sleep(1e6)"),
    "agent-no-session": python(
        "sys.stdin.readline()", f"print({INITIALIZED!r}, flush=True)", "time.sleep(1e6)"
    ),
}


def cloning(url: str, **more: Any) -> dict[str, Any]:
    return {"profile": "trivial", "workspace": {"git": {"url": url, **more}}}


def doing(*steps: list[Any], **more: Any) -> dict[str, Any]:
    return {"profile": "trivial", "steps": steps, **more}


RUNS: dict[str, dict[str, Any]] = {
    "clone-ref": cloning(f"{product.GIT}/demo.git", ref="no-such-branch"),
    "clone-no-account": cloning(f"{product.GIT}/private/demo.git"),
    "clone-missing": cloning(f"{product.GIT}/no-such.git"),
    "clone-not-git": cloning("http://model.agentrun-dev.svc:8080/v1/models"),
    "clone-unknown-host": cloning("http://no-such-host.invalid/x.git"),
    "clone-closed-host": cloning("http://nobody.agentrun-dev.svc:8080/x.git"),
    # Runs may not reach one another's namespace.
    "clone-blocked-host": cloning(f"http://nobody.{NAMESPACE}.svc:8080/x.git"),
    "clone-silent-host": cloning("http://silent.agentrun-dev.svc:8080/x.git"),
    "agent-exits-in-turn": doing(["exit", 3]),
    "agent-exits-silently": doing(["run", "kill -9 $PPID"]),
    "agent-line-too-long": doing(["line", 40_000_000]),
    "agent-answers-error": doing(["fail", "the agent cannot go on"]),
    "deadline": doing(["hang"], timeouts={"active_deadline_seconds": 5}),
}
# spawn_run refuses it at once, so it comes by kubectl.
OUTSIDE = {
    "apiVersion": "agentrun.dev/v1alpha1",
    "kind": "AgentRun",
    "metadata": {"name": "works-outside", "namespace": NAMESPACE},
    "spec": {
        "backend": "acp",
        "profile": "trivial",
        "prompt": "never",
        "workspace": {"cwd": "../etc"},
    },
}


@pytest.fixture(scope="module")
def place(impatient: Place) -> Place:
    async def prepare() -> None:
        profiles = [profile(name, NAMESPACE, **spec) for name, spec in PROFILES.items()]
        await apply(*profiles, profile("trivial", NAMESPACE), WRONG)
        await apply(nobody(NAMESPACE), nobody("agentrun-dev"))
        await impatient.spawn_all({key: {} for key in PROFILES} | RUNS)

    asyncio.run(prepare())
    return impatient


@promised(*PROFILES, *RUNS)
async def test_what_goes_wrong_in_the_pod_ends_the_run_and_says_why(place: Place, key: str) -> None:
    run = await place.check(place.runs[key], key)
    assert "wrong-password" not in str(run)


@promised("folder-outside")
async def test_a_folder_outside_of_the_workspace_is_refused(place: Place, key: str) -> None:
    await apply(OUTSIDE)
    await place.check("works-outside", key)
