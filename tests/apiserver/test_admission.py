"""What the chart's admission policies refuse, and whom, on a real API server."""

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from tests.apiserver.conftest import kubectl, new_namespace
from tests.unit.chart import helm

SYSTEM = "agentrun-system"
MCP_SERVER = f"system:serviceaccount:{SYSTEM}:agentrun-mcp"
KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def place(crds: None) -> Iterator[str]:
    """A namespace where the policies hold; the MCP server's account may do what its role says."""
    helm.install_tools()
    with new_namespace("admitted") as name, _admitting(name):
        yield name


@contextmanager
def _admitting(name: str) -> Iterator[None]:
    """Apply the policies and the roles of a namespace for the block."""
    objects = helm.render("--set", f"crds.enabled=false,runNamespaces={{{name}}}")
    kept = [one for one in objects if one["kind"] in KINDS]
    roles = [
        one
        for one in objects
        if one["kind"] in ("Role", "RoleBinding") and one["metadata"]["namespace"] == name
    ]
    for one in kept:
        # Beside an installed chart, whose policies are its own.
        one["metadata"]["name"] = one["metadata"]["name"].replace(SYSTEM, name)
        if "policyName" in one["spec"]:
            one["spec"]["policyName"] = one["spec"]["policyName"].replace(SYSTEM, name)
    manifests = "\n---\n".join(json.dumps(one) for one in [*kept, *roles])
    tried("apply", "-f", "-", stdin=manifests, check=True)
    try:
        _wait_until_they_hold(name)
        yield
    finally:
        for one in kept:
            kubectl("delete", one["kind"], one["metadata"]["name"], "--ignore-not-found")


def _wait_until_they_hold(namespace: str) -> None:
    end = time.monotonic() + 60
    probes = (a_run(namespace, parent=True), a_secret(namespace, "probe-agentrun-backend"))
    while any(create(probe, "--dry-run=server") == "" for probe in probes):
        assert time.monotonic() < end, "the policies do not hold"
        time.sleep(0.2)  # The API server says nowhere from when on they do.


def tried(*arguments: str, stdin: str, check: bool = False) -> str:
    """Call kubectl, and return what it complains about."""
    done = subprocess.run(
        ["kubectl", *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stderr if done.returncode else ""


def create(manifest: Json, *arguments: str, as_mcp_server: bool = False) -> str:
    who = ("--as", MCP_SERVER) if as_mcp_server else ()
    return tried("create", "-f", "-", *who, *arguments, stdin=json.dumps(manifest))


def a_run(namespace: str, *, parent: bool = False, **more: Any) -> Json:
    above = {"parent": {"name": "run-above", "uid": "u", "depth": 1}} if parent else {}
    return {
        "apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun",
        "metadata": {"name": f"t-{uuid4().hex[:12]}", "namespace": namespace},
        "spec": {"backend": "codex", "prompt": "say hello", **above, **more},
    }  # fmt: skip


def a_secret(
    namespace: str, name: str, *, owner: str | None = None, uid: str = "u", **more: Any
) -> Json:
    metadata: Json = {"name": name, "namespace": namespace}
    if owner:
        metadata["ownerReferences"] = [
            {"apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun", "name": owner, "uid": uid}
        ]
    data = {"auth_token": base64.b64encode(b"x").decode()}
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque",
        "immutable": True, "data": data, **more,
    }  # fmt: skip


def test_only_the_mcp_server_states_whose_child_a_run_is(place: str) -> None:
    assert "set by AgentRun's MCP server only" in create(a_run(place, parent=True))
    assert create(a_run(place)) == ""
    assert create(a_run(place, parent=True), as_mcp_server=True) == ""


def test_only_the_mcp_server_states_whose_credentials_a_run_has(place: str) -> None:
    config = {"agent_url": "https://agents.example.com/a"}
    of_another = {**config, "credentials_secret": "run-of-another-agentrun-backend"}
    refused = create(a_run(place, backend="remote_a2a", backendConfig=of_another))
    assert "credentials_secret is set by AgentRun's MCP server only" in refused
    assert create(a_run(place, backend="remote_a2a", backendConfig=config)) == ""
    run = a_run(place, backend="remote_a2a", backendConfig=of_another)
    assert create(run, as_mcp_server=True) == ""
    cancel = '{"spec":{"desiredState":"Cancelled"}}'
    kubectl("patch", "agentrun", run["metadata"]["name"], "-n", place, "--type=merge", "-p", cancel)


def test_a_child_can_be_cancelled_and_labelled_by_others(place: str) -> None:
    run = a_run(place, parent=True)
    name = run["metadata"]["name"]
    assert create(run, as_mcp_server=True) == ""
    kubectl("label", "agentrun", name, "-n", place, "a=b")
    cancel = '{"spec":{"desiredState":"Cancelled"}}'
    kubectl("patch", "agentrun", name, "-n", place, "--type=merge", "-p", cancel)


def test_the_mcp_server_creates_no_secret_but_its_own(place: str) -> None:
    right = a_secret(place, "run-a-agentrun-backend", owner="run-a")
    assert create(right, as_mcp_server=True) == ""
    for wrong in (
        a_secret(place, "openai-key", owner="run-a"),
        a_secret(place, "run-b-agentrun-backend", owner="run-a"),
        a_secret(place, "run-b-agentrun-backend"),
        a_secret(place, "run-b-agentrun-backend", owner="run-b", immutable=False),
        a_secret(
            place, "run-b-agentrun-backend", owner="run-b", type="example.com/of-somebody-else"
        ),
    ):
        assert "The MCP server only creates" in create(wrong, as_mcp_server=True), wrong


def test_nobody_else_creates_a_secret_like_those_of_the_mcp_server(place: str) -> None:
    forged = a_secret(place, "run-c-agentrun-backend", owner="run-c")
    assert "made by AgentRun's MCP server only" in create(forged)
    for fine in (
        a_secret(place, "openai-key"),
        a_secret(place, "some-other"),
        {**a_secret(place, "x"), "metadata": {"generateName": "made-", "namespace": place}},
    ):
        assert create(fine) == ""


def test_the_metadata_of_these_secrets_may_change(place: str) -> None:
    run = a_run(place)
    name = run["metadata"]["name"]
    assert create(run) == ""
    # Or the garbage collector takes it away.
    uid = kubectl("get", "agentrun", name, "-n", place, "-o", "jsonpath={.metadata.uid}")
    secret = f"{name}-agentrun-backend"
    assert create(a_secret(place, secret, owner=name, uid=uid), as_mcp_server=True) == ""
    kubectl("label", "secret", secret, "-n", place, "a=b")
