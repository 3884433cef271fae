"""The cluster's DNS: CoreDNS as a Deployment in kube-system, as in most clusters."""

from typing import Any

from dev import addons
from dev.components import DNS_IMAGE, Cluster

NAMESPACE, NAME = "kube-system", "coredns"
_LABELS = {"k8s-app": "kube-dns"}
_PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))

# Two server blocks: within one, CoreDNS runs `template` before `kubernetes` in any order.
_COREFILE = """\
cluster.local:53 {
    ready
    errors
    kubernetes cluster.local
}
.:53 {
    errors
    # There is no way out to the world, and a quick no is better than a slow one.
    template ANY ANY {
        rcode NXDOMAIN
    }
}
"""


def objects(c: Cluster) -> list[dict[str, Any]]:
    """Build all objects, in the order of creation."""
    watch = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": watch},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watch},
    ]
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    return [
        *addons.cluster_role("agentrun-dev:coredns", rules, account),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _names(NAME)},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _names(NAME),
            "data": {"Corefile": _COREFILE},
        },
        _deployment(),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _names("kube-dns"),
            "spec": {
                "clusterIP": c.network.dns,
                "selector": _LABELS,
                "ports": [{"name": n, "port": 53, "protocol": p} for n, p in _PORTS],
            },
        },
    ]


def _deployment() -> dict[str, Any]:
    container = {
        "name": NAME,
        "image": DNS_IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [{"containerPort": 53, "protocol": p, "name": n} for n, p in _PORTS],
        **addons.ready_once({"httpGet": {"path": "/ready", "port": 8181}}),
        "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": NAME,
        "priorityClassName": "system-cluster-critical",
        # The cluster's DNS would make it forward queries to itself.
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _names(NAME),
        "spec": {
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
        },
    }


def _names(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": NAMESPACE, "labels": _LABELS}
