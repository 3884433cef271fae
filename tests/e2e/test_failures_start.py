"""Runs whose pods are refused, or never come to work: named at once, and ended in time."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.cluster import Json, apply, held, status_of, until
from tests.e2e.failing import (
    PAUSE,
    a_claim,
    bare_pod,
    bound_claim,
    check_failure,
    offered,
    refused,
)
from tests.e2e.installation import Installation
from tests.failures import promised

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(420),
    pytest.mark.xdist_group("failures-start"),
]

NAMESPACE = "impatient"
TAG = secrets.token_hex(4)
"""What tells this test run's volumes from those of one before, which may be on their way out."""
GREAT = {"requests": {"memory": "60Gi"}, "limits": {"memory": "60Gi"}}
GREATER = {"requests": {"memory": "150Gi"}, "limits": {"memory": "150Gi"}}
PULLED = {"imagePullPolicy": "IfNotPresent"}
HUSHED = "nobody-may-read-this"
KEY = {"name": "KEY", "secret": {"name": "some-secret", "key": "no-such-key"}}

# In the order in which they end.
PROFILES: dict[str, dict[str, Any]] = {
    # At once, or after `stuckTimeoutSeconds`.
    "no-shell": {"image": PAUSE},
    "limit-range": {"resources": GREATER},
    "admission-policy": {"pod": {"nodeSelector": {"denied": "by-policy"}}},
    "webhook-away": {"pod": {"nodeSelector": {"asks": "webhook"}}},
    "runtime-class-missing": {"pod": {"runtimeClassName": "no-such-class"}},
    "priority-class-missing": {"pod": {"priorityClassName": "no-such-class"}},
    "claim-missing": {"workspace": {"volume": "no-such-claim"}},
    "image-missing": {"image": "localhost/agentrun/no-such-image:1", **PULLED},
    "image-never": {"image": "localhost/agentrun/no-such-image:1"},
    "image-misnamed": {"image": "No Such Name"},
    "secret-missing": {"env": [KEY | {"secret": {"name": "no-such-secret", "key": "key"}}]},
    "key-missing": {"env": [KEY]},
    "sandbox": {"pod": {"runtimeClassName": "no-such-handler"}},
    "registry-unknown": {"image": "registry.invalid/agent:1", **PULLED},
    # After `unschedulableTimeoutSeconds`.
    "quota": {"resources": GREAT},
    "unschedulable": {"pod": {"nodeSelector": {"no-such": "node"}}},
    "claim-unbound": {"workspace": {"volume": f"unbound-{TAG}"}},
    # After `startTimeoutSeconds`.
    "mount-fails": {"workspace": {"volume": f"broken-{TAG}"}},
}

# Whatever is the whole cluster's is about this namespace only.
IN_NAMESPACE = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
PODS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
POLICY: Json = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "agentrun-test-denies"},
    "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {"namespaceSelector": IN_NAMESPACE, "resourceRules": [PODS]},
        "validations": [
            {
                "expression": "!has(object.spec.nodeSelector)"
                " || !('denied' in object.spec.nodeSelector)",
                "message": "this node pool is not for agents",
            }
        ],
    },
}
BINDING: Json = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "agentrun-test-denies"},
    "spec": {"policyName": "agentrun-test-denies", "validationActions": ["Deny"]},
}
WEBHOOK: Json = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "agentrun-test-asks"},
    "webhooks": [
        {
            "name": "asks.example.org",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 2,
            "namespaceSelector": IN_NAMESPACE,
            "matchConditions": [
                {
                    "name": "asks",
                    "expression": "has(object.spec.nodeSelector)"
                    " && 'asks' in object.spec.nodeSelector",
                }
            ],
            # Nothing listens on the API server's own port 1.
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [PODS],
        }
    ],
}
RUNTIME_CLASS: Json = {
    "apiVersion": "node.k8s.io/v1",
    "kind": "RuntimeClass",
    "metadata": {"name": "no-such-handler"},
    "handler": "no-such-handler",
}
QUOTA: Json = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "small", "namespace": NAMESPACE},
    "spec": {"hard": {"requests.memory": "50Gi"}},
}
RANGE: Json = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "moderate", "namespace": NAMESPACE},
    "spec": {"limits": [{"type": "Container", "max": {"memory": "100Gi"}}]},
}
SECRET: Json = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "some-secret", "namespace": NAMESPACE},
    "data": {"key": base64.b64encode(HUSHED.encode()).decode()},
}
UNBOUND = a_claim(f"unbound-{TAG}", NAMESPACE, storageClassName="no-such-class")
BROKEN, BROKEN_VOLUME = bound_claim(
    f"broken-{TAG}",
    NAMESPACE,
    hostPath={"path": "/no/such/folder/on/the/node", "type": "Directory"},
)
OBJECTS = (
    POLICY, BINDING, WEBHOOK, RUNTIME_CLASS, QUOTA, RANGE, SECRET, UNBOUND, BROKEN, BROKEN_VOLUME,
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(impatient: Installation) -> AsyncIterator[Installation]:
    """A namespace where much is refused, and nothing is to be had."""
    await apply(*offered(NAMESPACE, PROFILES))
    async with held(*OBJECTS):
        # The API server and others take a moment to heed them.
        await asyncio.gather(
            refused(bare_pod("probe", NAMESPACE, nodeSelector={"denied": "x"}), "node pool"),
            refused(bare_pod("probe", NAMESPACE, nodeSelector={"asks": "x"}), "webhook"),
            refused(bare_pod("probe", NAMESPACE, memory="150Gi"), "maximum memory usage"),
            refused(bare_pod("probe", NAMESPACE, memory="60Gi"), "exceeded quota"),
            until(
                "pvc",
                f"broken-{TAG}",
                lambda claim: status_of(claim).get("phase") == "Bound",
                NAMESPACE,
            ),
        )
        yield await asyncio.to_thread(impatient.within, NAMESPACE)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def runs(place: Installation) -> dict[str, str]:
    """A run for each row. What waits longest is spawned first, and looked at last."""
    return await place.spawn_all({key: {} for key in reversed(PROFILES)})


@promised(*PROFILES)
async def test_a_pod_that_cannot_start_working_ends_its_run_with_the_reason(
    place: Installation, runs: dict[str, str], key: str
) -> None:
    run = await check_failure(place, runs[key], key)
    assert HUSHED not in str(run), "a Secret's data"
    assert SECRET["data"]["key"] not in str(run), "a Secret's data"
