"""What the API server answers to a pod that a policy denies, for each reason a policy may give."""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest

from agentrun.api.v1alpha1 import Reason
from agentrun.controller.pod.status import creation_failure
from agentrun.kube.api import Object
from agentrun.kube.client import Kube
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import PODS, Resource
from tests.apiserver.conftest import kubectl
from tests.waiting import LATE_SECONDS

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
POLICIES = Resource(ADMISSION, "validatingadmissionpolicies", is_namespaced=False)
BINDINGS = Resource(ADMISSION, "validatingadmissionpolicybindings", is_namespaced=False)
LABEL = "test.agentrun.dev/reason"
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")


def a_policy(name: str, reason: str) -> Object:
    """Build a policy that denies every pod labelled with ``reason``."""
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "resourceRules": [rule],
                "objectSelector": {"matchLabels": {LABEL: reason}},
            },
            "validations": [
                {"expression": "false", "message": "each pod needs a label team", "reason": reason}
            ],
        },
    }


@pytest.fixture
def name() -> Iterator[str]:
    made = f"denials-{uuid4().hex[:8]}"
    yield made
    for kind in (POLICIES, BINDINGS):
        kubectl("delete", kind.plural, made, "--ignore-not-found")


@pytest.mark.parametrize("reason", REASONS)
async def test_a_denial_for_any_reason_is_named(
    kube: Kube, namespace: str, name: str, reason: str
) -> None:
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    await kube.create(POLICIES, "", a_policy(name, reason))
    await kube.create(BINDINGS, "", binding)
    pod = {
        "metadata": {"name": name, "labels": {LABEL: reason}},
        "spec": {"containers": [{"name": "agent", "image": "none"}]},
    }
    denied: ApiError | None = None
    async with asyncio.timeout(LATE_SECONDS):
        while denied is None or "label team" not in denied.message:
            try:
                await kube.request(
                    "POST", PODS.path(namespace), {"dryRun": "All"}, {"kind": "Pod", **pod}
                )
            except ApiError as error:
                denied = error
            await asyncio.sleep(0.2)  # The API server says nowhere from when on a policy holds.
    assert denied.is_denied
    failure = creation_failure(denied, f"Pod {name}")
    assert failure is not None
    assert failure.reason is Reason.POD_REJECTED
    assert "each pod needs a label team" in failure.message
