"""Objects the cluster has from the start: its DNS Service, and volumes for claims to bind."""

import json
from typing import Any

from dev.components import Cluster

VOLUMES = 12
VOLUME_SIZE = "10Gi"


def manifest(objects: list[dict[str, Any]]) -> str:
    """Put ``objects`` into one document for ``kubectl apply``."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def dns(c: Cluster) -> list[dict[str, Any]]:
    """Build the Service that leads to the CoreDNS process on the node."""
    names = {"name": "kube-dns", "namespace": "kube-system"}
    ports = [("dns", "UDP"), ("dns-tcp", "TCP")]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": names,
            "spec": {
                "clusterIP": c.network.dns,
                "ports": [{"name": n, "port": 53, "protocol": p} for n, p in ports],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**names, "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "ports": [{"name": n, "port": 53, "protocol": p} for n, p in ports],
            "endpoints": [{"addresses": [c.network.node], "conditions": {"ready": True}}],
        },
    ]


def coredns_role() -> list[dict[str, Any]]:
    """Build what lets CoreDNS look at Services and their endpoints."""
    group = "rbac.authorization.k8s.io"
    name = {"name": "agentrun-dev:coredns"}
    watch = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": watch},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watch},
    ]
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": name, "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": name,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", **name},
        "subjects": [{"kind": "User", "apiGroup": group, "name": "system:coredns"}],
    }
    return [role, binding]


def storage_class() -> dict[str, Any]:
    """Build the default StorageClass, whose volumes are made ahead."""
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
    """Name a PersistentVolume."""
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
