"""What stands in for the world outside: the scripted model, and a git server."""

import hashlib
from typing import Any

from dev import addons, cluster, images, paths, product
from dev.shell import step

NAMESPACE = "agentrun-dev"
PORT, SILENT_PORT = 8080, 8081
VOLUMES = {"tmp": "/tmp", "git": "/srv/git"}


def apply(name: str) -> None:
    """Put the scripted model and the git server into the cluster, and wait until they serve."""
    with step("applying the fixtures"):
        cluster.kubectl(name, "apply", "-f", "-", stdin=addons.manifest(objects()))
        for deployment in ("model", "git"):
            what = f"deployment/{deployment}"
            cluster.kubectl(name, "-n", NAMESPACE, "rollout", "status", what, "--timeout=90s")


def objects() -> list[dict[str, Any]]:
    """Build everything, in the order of creation."""
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": level},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _names("accounts"),
        "stringData": {
            "MODEL_API_KEY": product.MODEL_KEY,
            "GIT_USER": product.GIT_USER,
            "GIT_PASSWORD": product.GIT_PASSWORD,
        },
    }
    health = {"httpGet": {"path": "/healthz", "port": PORT}}
    return [
        namespace,
        secret,
        _deployment("model", "dev.model", health),
        _deployment("git", "dev.git", {"tcpSocket": {"port": PORT}}),
        _service("model", "model", PORT),
        _service("git", "git", PORT),
        # It accepts connections and never answers: a server that hangs.
        _service("silent", "model", SILENT_PORT),
    ]


def _names(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": NAMESPACE, "labels": {"app": name}}


def _deployment(name: str, module: str, health: dict[str, Any]) -> dict[str, Any]:
    container = {
        "name": name,
        "image": images.name_of("dev"),
        "imagePullPolicy": "Never",
        "command": ["python3", "-m", module],
        "env": [{"name": "SILENT_PORT", "value": str(SILENT_PORT)}],
        "envFrom": [{"secretRef": {"name": "accounts"}}],
        "readinessProbe": {**health, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": v, "mountPath": p} for v, p in VOLUMES.items()],
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": v, "emptyDir": {}} for v in VOLUMES],
    }
    # The image keeps its name when it changes; this is what makes its pods new.
    annotations = {"agentrun.dev/sources": _digest()}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _names(name),
        "spec": {
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": pod,
            },
        },
    }


def _service(name: str, app: str, target: int) -> dict[str, Any]:
    ports = [{"port": PORT, "targetPort": target}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _names(name),
        "spec": {"selector": {"app": app}, "ports": ports},
    }


def _digest() -> str:
    digest = hashlib.sha256()
    for folder in ("git", "model"):
        for file in sorted((paths.DEV / folder).glob("*.*")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
