"""Runs that ask for what is not to be had, are stopped, or do not do what was asked for."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import yaml

from dev import paths, product
from tests.e2e.cluster import (
    Json,
    apply,
    delete,
    eventually,
    get,
    held,
    kubectl,
    merge,
    status_of,
    until,
)
from tests.e2e.failing import (
    bare_pod,
    bound_claim,
    check_failure,
    doing,
    offered,
    python,
    refusal,
    refused,
)
from tests.e2e.installation import Installation, a_run
from tests.failures import promised
from tests.objects import nested

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(420),
    pytest.mark.xdist_group("failures-more"),
]

NAMESPACE, FULL = "impatient-more", "impatient-full"
TAG = secrets.token_hex(4)
"""What tells this test run's objects from those of one before."""
FINALIZER = "example.org/held"
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
        "git": {**product.GIT_ACCESS, "repositories": [], "branches": ["agentrun/*", "taken"]},
        "workspace": {"git": {"url": f"{product.GIT}/private/{repository}.git"}},
    }


PROFILES: dict[str, dict[str, Any]] = {
    "picky": {
        "models": {"allowed": ["one", "two"]},
        "volumes": ["ours"],
        "git": {"repositories": ["https://git.example.com/team"]},
    },
    "no-command": {"command": []},
    "forks": AGENT_THAT_FORKS,
    "unattached": {"workspace": {"volume": f"unattached-{TAG}"}},
    "asks": {"timeouts": {"inputTimeoutSeconds": 3}},
    "protected": of_git("protected"),
    "read-only": of_git("read-only"),
}
CHANGES = ["run", f'python3 -c "{HELD}"']
SPAWNED: dict[str, dict[str, Any]] = {
    "agent-leaves-children": {"profile": "forks"},
    "fork-bomb": doing(["run", MANY], ["say", "it was refused"]),
    "input-timeout": doing(["fail", "sign in first", -32000]) | {"profile": "asks"},
}
PUSHED: dict[str, dict[str, Any]] = {
    "push-hook": doing(CHANGES) | {"profile": "protected"},
    "push-read-only": doing(CHANGES) | {"profile": "read-only"},
    # A repository that the profile's credentials are not for: cloned by anybody, pushed to by none.
    "push-refused": doing(CHANGES, workspace={"git": {"url": f"{product.GIT}/demo.git"}})
    | {"profile": "protected"},
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
# Nobody attaches the volumes of a driver that is not there, and nobody says so for two minutes.
LONG: dict[str, dict[str, Any]] = {"start-slow": {"profile": "unattached"}}
STOPPED: dict[str, dict[str, Any]] = {
    "cancelled": doing(["hang"]),
    "pod-held": doing(["sleep", 600], timeouts={"termination_grace_period_seconds": 1}),
}


def made(name: str, namespace: str = NAMESPACE, **spec: Any) -> Json:
    """A run that kubectl makes: spawn_run would say at once what is wrong with it."""
    return a_run(f"{name}-{TAG}", namespace, **spec)


def resuming(session: str) -> dict[str, Any]:
    return {"session": {"name": session, "mode": "resume"}}


MADE: dict[str, Json] = {
    "profile-missing": made("asks-in-vain", profile="no-such-profile"),
    "profile-other-backend": made("asks-another", backend="codex"),
    "profile-model": made("asks-model", profile="picky", model="three"),
    "profile-volume": made("asks-volume", profile="picky", workspace={"volume": "theirs"}),
    "profile-repository": made(
        "asks-repository", profile="picky", workspace={"git": {"url": f"{product.GIT}/demo.git"}}
    ),
    "profile-no-command": made("asks-nothing", profile="no-command"),
    "run-unreadable": made("is-too-deep", metadata=nested(205)),
    "pod-name-taken": made("is-taken"),
    "session-missing": made("resumes-nothing", **resuming("no-such-session")),
    "session-other-backend": made("resumes-another", **resuming(f"of-codex-{TAG}")),
    "session-empty": made("resumes-empty", **resuming(f"empty-{TAG}")),
}
TAKEN = bare_pod(f"is-taken-{TAG}-1", NAMESPACE, nodeSelector={"no-such": "node"})


def session(name: str, backend: str, namespace: str = NAMESPACE) -> Json:
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentSession",
        "metadata": {"name": f"{name}-{TAG}", "namespace": namespace},
        "spec": {"backend": backend},
    }


CLAIM, VOLUME = bound_claim(
    f"unattached-{TAG}",
    NAMESPACE,
    csi={"driver": "no-such-driver.example.org", "volumeHandle": "one"},
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(impatient: Installation) -> Installation:
    await apply(*offered(NAMESPACE, PROFILES))
    return await asyncio.to_thread(impatient.within, NAMESPACE)


NO_SESSIONS: Json = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "no-sessions", "namespace": FULL},
    "spec": {"hard": {"count/agentsessions.agentrun.dev": "0"}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def without_session(impatient: Installation) -> AsyncIterator[tuple[Installation, str]]:
    """A run that may have no session. It waits long for one, and so do the other runs meanwhile."""
    there = await asyncio.to_thread(impatient.within, FULL)
    async with held(NO_SESSIONS):
        await refused(session("probe", "acp", FULL), "exceeded quota")
        run = made("has-no-session", FULL)
        await apply(*offered(FULL, {}), run)
        await there.reaches(run["metadata"]["name"], "Queued", reason="QuotaExceeded")
        yield there, run["metadata"]["name"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def runs(
    place: Installation, without_session: tuple[Installation, str]
) -> AsyncIterator[dict[str, str]]:
    """A run for each row. What waits longest is spawned first, and looked at last."""
    async with held(CLAIM, VOLUME, TAKEN):
        await until(
            "pvc",
            f"unattached-{TAG}",
            lambda claim: status_of(claim).get("phase") == "Bound",
            NAMESPACE,
        )
        ids = await place.spawn_all(LONG)
        await apply(session("of-codex", "codex"), session("empty", "acp"))
        await apply(*MADE.values())
        ids |= {key: run["metadata"]["name"] for key, run in MADE.items()}
        ids |= await place.spawn_all(SPAWNED | PUSHED | STOPPED)
        yield ids


@promised(*MADE)
async def test_an_unavailable_dependency_ends_the_run_with_the_reason(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    await check_failure(place, runs[key], key)


@promised(*SPAWNED)
async def test_an_unexpected_end_of_the_pod_ends_the_run_with_the_reason(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    await check_failure(place, runs[key], key)


@promised(*PUSHED)
async def test_a_change_that_cannot_be_pushed_is_kept(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    run = await check_failure(place, runs[key], key)
    assert run["result"]["pushed"] is False
    assert run["commit"]
    events = [event async for event in place.client.events(runs[key])]
    kept = [event for event in events if event["type"] == "artifact_added"]
    assert len(kept) == 1, events
    assert product.GIT_PASSWORD not in json.dumps([run, events])


@promised("cancelled")
async def test_a_run_that_is_cancelled(place: Installation, runs: dict[str, str], key: str) -> None:
    await place.reaches(runs[key], "Running")
    await place.client.call("cancel_run", run_id=runs[key], wait_ms=30_000)
    await check_failure(place, runs[key], key)


@promised("pod-held")
async def test_a_pod_with_a_finalizer_does_not_delay_its_run(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    run_id = runs[key]
    await place.reaches(run_id, "Running")
    pod = f"{run_id}-1"
    await merge("pod", pod, {"metadata": {"finalizers": [FINALIZER]}}, NAMESPACE)
    try:
        await place.client.call("cancel_run", run_id=run_id, wait_ms=1_000)
        await place.reaches(run_id, "Cancelled", seconds=120)
        assert await get("pod", pod, NAMESPACE), "nothing held it"
        await check_failure(place, run_id, key)
    finally:
        await merge("pod", pod, {"metadata": {"finalizers": None}}, NAMESPACE)


@promised("session-refused")
async def test_a_session_whose_creation_the_api_server_refuses(
    without_session: tuple[Installation, str], key: str
) -> None:
    there, run_id = without_session
    await check_failure(there, run_id, key)


DENIES: Json = {
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
DENIES_HERE: Json = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "agentrun-test-no-accounts"},
    "spec": {"policyName": "agentrun-test-no-accounts", "validationActions": ["Deny"]},
}


def account(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": NAMESPACE},
    }


@promised("account-missing")
async def test_a_namespace_without_its_default_account(place: Installation, key: str) -> None:
    probe = account("probe")
    try:
        async with held(DENIES, DENIES_HERE):
            await refused(probe, "no more accounts")
            await delete("serviceaccount", "default", namespace=NAMESPACE)
            await refused(bare_pod("probe", NAMESPACE), 'serviceaccount "default" not found')
            run_id = await place.trivial(["say", "hello"])
            await check_failure(place, run_id, key)
    finally:
        # The policy is enforced for a moment longer; then there is to be an account again.
        await eventually(lambda: refusal(probe), lambda said: not said, 30)
        await apply(account("default"))


@pytest.mark.parametrize("pod", ["everything", "plain", "remote"])
async def test_every_pod_satisfies_the_restricted_standard(place: Installation, pod: str) -> None:
    namespace = await get("namespace", NAMESPACE, "")
    assert namespace is not None
    level = "pod-security.kubernetes.io/enforce"
    assert namespace["metadata"]["labels"][level] == "restricted"
    golden = paths.CHECKOUT / "tests" / "unit" / "controller" / "pod" / "golden" / f"pod-{pod}.yaml"
    manifest = yaml.safe_load(golden.read_text(encoding="utf-8"))
    manifest["metadata"] |= {"namespace": NAMESPACE, "ownerReferences": []}
    for key in ("runtimeClassName", "priorityClassName"):
        manifest["spec"].pop(key, None)
    # By kubectl, which also refuses what no pod has.
    created = await kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))
    assert "created" in created


@promised(*LONG)
async def test_a_pod_that_does_not_start_ends_its_run_in_time(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    await check_failure(place, runs[key], key)
