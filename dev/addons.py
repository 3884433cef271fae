"""Objects that every cluster has from the start: roles, storage class and volumes."""

import json
from typing import Any

from dev.components import Cluster

RBAC = "rbac.authorization.k8s.io"
VOLUMES = 12
VOLUME_SIZE = "10Gi"


def manifest(objects: list[dict[str, Any]]) -> str:
    """Combine ``objects`` into one document for ``kubectl apply``."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def ready_once(handler: dict[str, Any]) -> dict[str, Any]:
    """
    Build the probe of a container that is ready from its first successful probe on.

    A repeated probe would remove it from its Service while the machine is too busy to answer within
    a second, and would cost as much CPU as all components of an idle cluster.
    """
    return {"startupProbe": {**handler, "periodSeconds": 1, "failureThreshold": 120}}


def policies_role() -> list[dict[str, Any]]:
    """Build the role that lets the NetworkPolicy enforcer list and watch what it needs."""
    core = {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list", "watch"]}
    own = {**core, "apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"]}
    subject = {"kind": "User", "apiGroup": RBAC, "name": "agentrun-dev:policies"}
    return cluster_role("agentrun-dev:policies", [core, own], subject)


def cluster_role(
    name: str, rules: list[dict[str, Any]], subject: dict[str, str]
) -> list[dict[str, Any]]:
    """Build a ClusterRole and the ClusterRoleBinding of ``subject``."""
    meta = {"apiVersion": f"{RBAC}/v1", "metadata": {"name": name}}
    role = {**meta, "kind": "ClusterRole", "rules": rules}
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}
    binding = {**meta, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]}
    return [role, binding]


def storage_class() -> dict[str, Any]:
    """Build the default StorageClass, whose volumes are created in advance."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "local",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def volume_name(number: int) -> str:
    """Return the name of a PersistentVolume."""
    return f"local-{number:02}"


def volume(c: Cluster, number: int) -> dict[str, Any]:
    """Build a PersistentVolume of type local, for which the kubelet applies ``fsGroup``."""
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [c.node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(number)},
        "spec": {
            "capacity": {"storage": VOLUME_SIZE},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "local",
            "local": {"path": str(c.volume(number))},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
        },
    }
