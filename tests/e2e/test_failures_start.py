"""Runs whose pods are refused, or never come to work: named at once, and ended in time."""

import asyncio
import base64
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from dev import product
from tests.e2e.cluster import apply, eventually, get, kubectl
from tests.e2e.conftest import profile
from tests.e2e.failing import Place, promised
from tests.e2e.impatient import RELEASE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

NAMESPACE = RELEASE.runs
GREAT = {"requests": {"memory": "60Gi"}, "limits": {"memory": "60Gi"}}
GREATER = {"requests": {"memory": "150Gi"}, "limits": {"memory": "150Gi"}}
PAUSE = "localhost/agentrun/pause:dev"
PULLED = {"imagePullPolicy": "IfNotPresent"}
KEY = {"name": "KEY", "secret": {"name": "some-secret", "key": "no-such-key"}}

PROFILES: dict[str, dict[str, Any]] = {
    "quota": {"resources": GREAT},
    "limit-range": {"resources": GREATER},
    "admission-policy": {"pod": {"nodeSelector": {"denied": "by-policy"}}},
    "webhook-away": {"pod": {"nodeSelector": {"asks": "webhook"}}},
    "runtime-class-missing": {"pod": {"runtimeClassName": "no-such-class"}},
    "priority-class-missing": {"pod": {"priorityClassName": "no-such-class"}},
    "unschedulable": {"pod": {"nodeSelector": {"no-such": "node"}}},
    "claim-missing": {"workspace": {"volume": "no-such-claim"}},
    "claim-unbound": {"workspace": {"volume": "unbound"}},
    "mount-fails": {"workspace": {"volume": "broken"}},
    "image-missing": {"image": "localhost/agentrun/no-such-image:1", **PULLED},
    "registry-unknown": {"image": "registry.invalid/agent:1", **PULLED},
    "image-never": {"image": "localhost/agentrun/no-such-image:1"},
    "image-misnamed": {"image": "No Such Name"},
    "secret-missing": {"env": [KEY | {"secret": {"name": "no-such-secret", "key": "key"}}]},
    "key-missing": {"env": [KEY]},
    "sandbox": {"pod": {"runtimeClassName": "no-such-handler"}},
    "no-shell": {"image": PAUSE},
}

IN_NAMESPACE = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
PODS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
POLICY: dict[str, Any] = {
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
BINDING = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "agentrun-test-denies"},
    "spec": {"policyName": "agentrun-test-denies", "validationActions": ["Deny"]},
}
WEBHOOK = {
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
RUNTIME_CLASS = {
    "apiVersion": "node.k8s.io/v1",
    "kind": "RuntimeClass",
    "metadata": {"name": "no-such-handler"},
    "handler": "no-such-handler",
}
QUOTA: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "small", "namespace": NAMESPACE},
    "spec": {"hard": {"requests.memory": "50Gi"}},
}
RANGE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "moderate", "namespace": NAMESPACE},
    "spec": {"limits": [{"type": "Container", "max": {"memory": "100Gi"}}]},
}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "some-secret", "namespace": NAMESPACE},
    "data": {"key": base64.b64encode(b"value").decode()},
}


def claim(name: str, volume: str, storage_class: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}},
            "storageClassName": storage_class,
            "volumeName": volume,
        },
    }


BROKEN_VOLUME = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "agentrun-test-broken"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Mi"},
        "storageClassName": "agentrun-test",
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"name": "broken", "namespace": NAMESPACE},
        "hostPath": {"path": "/no/such/folder/on/the/node", "type": "Directory"},
    },
}
OF_THE_CLUSTER: list[dict[str, Any]] = [POLICY, BINDING, WEBHOOK, RUNTIME_CLASS, BROKEN_VOLUME]
OBJECTS: list[dict[str, Any]] = [
    *OF_THE_CLUSTER,
    QUOTA,
    RANGE,
    SECRET,
    claim("broken", "agentrun-test-broken", "agentrun-test"),
    claim("unbound", "", "no-such-class"),
]


async def _prepare(place: Place) -> None:
    profiles = [profile(name, NAMESPACE, **spec) for name, spec in PROFILES.items()]
    await apply(*profiles, *OBJECTS, profile("trivial", NAMESPACE))
    # The API server takes a moment to enforce them.
    for selector in ("denied", "asks"):
        await eventually(lambda selector=selector: _refused(selector), bool, 30)  # type: ignore[misc]
    await eventually(
        lambda: get("resourcequota", "small", NAMESPACE),
        lambda found: bool(found and found.get("status", {}).get("hard")),
    )
    await eventually(
        lambda: get("pvc", "broken", NAMESPACE),
        lambda found: bool(found and found.get("status", {}).get("phase") == "Bound"),
    )
    await place.spawn_all({key: {} for key in PROFILES})


async def _refused(selector: str) -> bool:
    """Whether a pod with a node selector is refused by now."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": NAMESPACE},
        "spec": {
            "nodeSelector": {selector: "x"},
            # The namespace wants `restricted`, which is asked before policies and webhooks are.
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "c",
                    "image": PAUSE,
                    "resources": {"requests": {"memory": "1Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
    try:
        await kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    except AssertionError as error:
        return "node pool" in str(error) or "webhook" in str(error)
    return False


@pytest.fixture(scope="module")
def place(impatient: Place) -> Iterator[Place]:
    env = product.environment(os.environ["AGENTRUN_CLUSTER"])
    try:
        asyncio.run(_prepare(impatient))
        yield impatient
    finally:
        for made in [*OF_THE_CLUSTER, QUOTA, RANGE]:
            name, kind = made["metadata"]["name"], made["kind"]
            product.kube(
                env, "delete", kind, name, "-n", NAMESPACE, "--wait=false", "--ignore-not-found"
            )


@promised(*PROFILES)
async def test_a_pod_that_cannot_come_to_work_ends_its_run_and_says_why(
    place: Place, key: str
) -> None:
    run = await place.check(place.runs[key], key)
    assert "c29tZ" not in str(run), "a Secret's data"
