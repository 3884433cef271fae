"""Runs that ask for what is not to be had, are stopped, or do not do what was asked for."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from dev import paths, product
from tests.e2e.cluster import Json, apply, eventually, get, kubectl
from tests.e2e.conftest import profile
from tests.e2e.failing import Place, promised
from tests.e2e.impatient import RELEASE
from tests.e2e.test_failures_agents import doing, python

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

NAMESPACE = RELEASE.runs
FINALIZER = "example.org/held"
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
}
# It says nothing, and is ended by the test.
AGENT_THAT_FORKS = python("os.fork() and os._exit(0)", "time.sleep(1e6)")
# A shell gives up at the first process that it cannot start.
MANY = "for i in $(seq 2000); do sleep 30 >/dev/null 2>&1 & done; echo all"
HELD = (
    "import pathlib; pathlib.Path('/workspace/README.md').write_text('mine');"
    " pathlib.Path('/workspace/new.txt').write_text('new')"
)


def of_git(repository: str) -> dict[str, Any]:
    return {
        "git": {"credentialsSecret": "git-credentials"},
        "workspace": {"git": {"url": f"{product.GIT}/private/{repository}.git"}},
    }


PROFILES: dict[str, dict[str, Any]] = {
    "picky": {"models": {"allowed": ["one", "two"]}, "volumes": ["ours"]},
    "no-command": {"command": []},
    "forks": AGENT_THAT_FORKS,
    "unattached": {"workspace": {"volume": "unattached"}},
    "asks": {"timeouts": {"inputTimeoutSeconds": 3}},
    "protected": of_git("protected"),
    "read-only": of_git("read-only"),
}
CHANGES = ["run", f'python3 -c "{HELD}"']
SPAWNED: dict[str, dict[str, Any]] = {
    "agent-leaves-children": {"profile": "forks"},
    "fork-bomb": doing(["run", MANY], ["say", "it was refused"]),
    "start-slow": {"profile": "unattached"},
    "refused": doing(["say", "I would rather not"], ["stop", "refusal"]),
    "limit-tokens": doing(["stop", "max_tokens"]),
    "limit-turns": doing(["stop", "max_turn_requests"]),
    "turn-cancelled": doing(["stop", "cancelled"]),
    "output-invalid": doing(["say", '{"answer": 42}'], output_schema=SCHEMA),
    "input-timeout": doing(["fail", "sign in first", -32000]) | {"profile": "asks"},
}
PUSHED: dict[str, dict[str, Any]] = {
    "push-hook": doing(CHANGES) | {"profile": "protected"},
    "push-read-only": doing(CHANGES) | {"profile": "read-only"},
    "push-branch-taken": doing(
        CHANGES,
        workspace={
            "git": {
                "url": f"{product.GIT}/private/protected.git",
                "ref": "main",
                "branch": "taken",
            }
        },
    )
    | {"profile": "protected"},
}


def a_run(name: str, **spec: Any) -> Json:
    """A run as kubectl makes it: spawn_run would say at once what is wrong with it."""
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"backend": "acp", "profile": "trivial", "prompt": "do\n[]"} | spec,
    }


def resuming(session: str) -> dict[str, Any]:
    return {"session": {"name": session, "mode": "resume"}}


MADE: dict[str, Json] = {
    "profile-missing": a_run("asks-in-vain", profile="no-such-profile"),
    "profile-other-backend": a_run("asks-another", backend="codex"),
    "profile-model": a_run("asks-model", profile="picky", model="three"),
    "profile-volume": a_run("asks-volume", profile="picky", workspace={"volume": "theirs"}),
    "profile-no-command": a_run("asks-nothing", profile="no-command"),
    "run-misnamed": a_run("has.a.dot"),
    "pod-name-taken": a_run("is-taken"),
    "session-missing": a_run("resumes-nothing", **resuming("no-such-session")),
    "session-other-backend": a_run("resumes-another", **resuming("of-codex")),
    "session-empty": a_run("resumes-empty", **resuming("empty")),
}
TAKEN = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "is-taken-1", "namespace": NAMESPACE},
    "spec": {
        "nodeSelector": {"no-such": "node"},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "c",
                "image": "localhost/agentrun/pause:dev",
                "resources": {"requests": {"memory": "1Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    },
}


def session(name: str, backend: str) -> Json:
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentSession",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"backend": backend},
    }


# Nobody attaches the volumes of a driver that is not there, and nobody says so for two minutes.
VOLUME = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "agentrun-test-unattached"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Mi"},
        "storageClassName": "agentrun-test",
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"name": "unattached", "namespace": NAMESPACE},
        "csi": {"driver": "no-such-driver.example.org", "volumeHandle": "one"},
    },
}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "unattached", "namespace": NAMESPACE},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Mi"}},
        "storageClassName": "agentrun-test",
        "volumeName": "agentrun-test-unattached",
    },
}


@pytest.fixture(scope="module")
def place(impatient: Place) -> Iterator[Place]:
    async def prepare() -> None:
        profiles = [profile(name, NAMESPACE, **spec) for name, spec in PROFILES.items()]
        await apply(
            *profiles,
            profile("trivial", NAMESPACE),
            session("of-codex", "codex"),
            session("empty", "acp"),
            VOLUME,
            CLAIM,
            TAKEN,
        )
        await apply(*MADE.values())
        await eventually(
            lambda: get("pvc", "unattached", NAMESPACE),
            lambda found: (found or {}).get("status", {}).get("phase") == "Bound",
        )
        impatient.runs |= {key: made["metadata"]["name"] for key, made in MADE.items()}
        await impatient.spawn_all(SPAWNED | PUSHED)

    env = product.environment(os.environ["AGENTRUN_CLUSTER"])
    try:
        asyncio.run(prepare())
        yield impatient
    finally:
        for kind, name in (("pv", "agentrun-test-unattached"), ("pod", "is-taken-1")):
            product.kube(
                env, "delete", kind, name, "-n", NAMESPACE, "--wait=false", "--ignore-not-found"
            )


@promised(*MADE)
async def test_what_is_not_to_be_had_ends_the_run_and_says_why(place: Place, key: str) -> None:
    await place.check(place.runs[key], key)


@promised(*SPAWNED)
async def test_what_was_not_asked_for_ends_the_run_and_says_why(place: Place, key: str) -> None:
    await place.check(place.runs[key], key)


@promised(*PUSHED)
async def test_a_change_that_cannot_be_pushed_is_kept(place: Place, key: str) -> None:
    run = await place.check(place.runs[key], key)
    assert run["result"]["pushed"] is False
    assert run["commit"]
    events = [event async for event in place.door.events(place.runs[key])]
    kept = [event for event in events if event["type"] == "artifact_added"]
    assert len(kept) == 1, events
    assert product.GIT_PASSWORD not in json.dumps([run, events])


@promised("cancelled")
async def test_a_run_that_is_cancelled(place: Place, key: str) -> None:
    run_id = await place.spawn("trivial", ["hang"])
    await place.until(run_id, "Running")
    await place.door.call("cancel_run", run_id=run_id, wait_ms=30_000)
    await place.check(run_id, key)


@promised("pod-held")
async def test_a_pod_that_is_held_by_a_finalizer_holds_no_run(place: Place, key: str) -> None:
    brief = {"termination_grace_period_seconds": 1}
    run_id = await place.spawn("trivial", ["sleep", 600], timeouts=brief)
    await place.until(run_id, "Running")
    pod = ("patch", "pod", f"{run_id}-1", "-n", NAMESPACE, "--type=merge", "-p")
    await kubectl(*pod, json.dumps({"metadata": {"finalizers": [FINALIZER]}}))
    try:
        await place.door.call("cancel_run", run_id=run_id, wait_ms=1_000)
        await place.until(run_id, "Cancelled", seconds=90)
        assert await get("pod", f"{run_id}-1", NAMESPACE), "nothing held it"
        await place.check(run_id, key)
    finally:
        await kubectl(*pod, json.dumps({"metadata": {"finalizers": None}}))


@promised("session-refused")
async def test_a_session_that_the_api_server_does_not_let_be_made(place: Place, key: str) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-sessions", "namespace": NAMESPACE},
        "spec": {"hard": {"count/agentsessions.agentrun.dev": "0"}},
    }
    with held(quota):
        await eventually(
            lambda: get("resourcequota", "no-sessions", NAMESPACE),
            lambda found: bool(found and found.get("status", {}).get("used")),
        )
        await apply(a_run("has-no-session"))
        await place.until("has-no-session", "Queued", "QuotaExceeded")
        await place.check("has-no-session", key)


DENIES: dict[str, Any] = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "agentrun-test-no-accounts"},
    "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["serviceaccounts"],
                }
            ],
        },
        "validations": [{"expression": "false", "message": "no more accounts"}],
    },
}
DENIES_HERE = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "agentrun-test-no-accounts"},
    "spec": {"policyName": "agentrun-test-no-accounts", "validationActions": ["Deny"]},
}


@contextmanager
def held(*objects: Json) -> Iterator[None]:
    """Have some objects for the length of a test."""
    env = product.environment(os.environ["AGENTRUN_CLUSTER"])
    product.apply(env, *objects)
    try:
        yield
    finally:
        for made in objects:
            kind, name = made["kind"], made["metadata"]["name"]
            product.kube(env, "delete", kind, name, "-n", NAMESPACE, "--ignore-not-found")


@promised("account-missing")
async def test_a_namespace_without_its_default_account(place: Place, key: str) -> None:
    probe = ("create", "serviceaccount", "probe", "-n", NAMESPACE, "--dry-run=server")

    async def is_denied() -> bool:
        try:
            await kubectl(*probe)
        except AssertionError as error:
            return "no more accounts" in str(error)
        return False

    with held(DENIES, DENIES_HERE):
        await eventually(is_denied, bool, 30)
        await kubectl("delete", "serviceaccount", "default", "-n", NAMESPACE)
        run_id = await place.spawn("trivial")
        await place.check(run_id, key)
    # The policy is enforced for a moment longer; then there is to be an account again.
    await eventually(is_denied, lambda denied: not denied, 30)
    account = {"kind": "ServiceAccount", "metadata": {"name": "default", "namespace": NAMESPACE}}
    await apply({"apiVersion": "v1", **account})


@pytest.mark.parametrize("pod", ["everything", "plain", "remote"])
async def test_every_pod_that_is_made_satisfies_the_restricted_standard(
    place: Place, pod: str
) -> None:
    namespace = await get("namespace", NAMESPACE, "")
    assert namespace is not None
    level = "pod-security.kubernetes.io/enforce"
    assert namespace["metadata"]["labels"][level] == "restricted"
    golden = paths.CHECKOUT / "tests" / "unit" / "controller" / "golden" / f"pod-{pod}.yaml"
    manifest = yaml.safe_load(golden.read_text(encoding="utf-8"))
    manifest["metadata"] |= {"namespace": NAMESPACE, "ownerReferences": []}
    for key in ("runtimeClassName", "priorityClassName"):
        manifest["spec"].pop(key, None)
    created = await kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))
    assert "created" in created
