"""Builds the development cluster's Deployments and Services; their pods are `restricted`."""

from dataclasses import dataclass, field
from typing import Any

from dev import addons

NAMESPACE = "agentrun-dev"


@dataclass(frozen=True)
class Program:
    """A server that runs in one pod."""

    name: str
    image: str
    command: list[str]
    probe: dict[str, Any]
    """The handler of the startup probe."""
    folders: dict[str, str]
    """The writable folders: volume name to path. They last as long as the pod."""
    secret: str
    """The Secret whose keys become environment variables."""
    environment: dict[str, str] = field(default_factory=dict)
    certificates: str = ""
    """The Secret that is mounted at /tls."""
    labels: dict[str, str] = field(default_factory=dict)
    sources: str = ""
    """A hash that replaces the pod when it changes: the image's name stays the same."""


def metadata(name: str, **labels: str) -> dict[str, Any]:
    """Build an object's metadata."""
    return {"name": name, "namespace": NAMESPACE, "labels": {"app": name, **labels}}


def deployment(program: Program) -> dict[str, Any]:
    """Build the Deployment of a program."""
    selected = {"app": program.name}
    template = {
        "metadata": {"labels": selected, "annotations": {"agentrun.dev/sources": program.sources}},
        "spec": _pod(program),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(program.name, **program.labels),
        "spec": {
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selected},
            "template": template,
        },
    }


def service(name: str, app: str, port: int, target: int, **labels: str) -> dict[str, Any]:
    """Build a Service for a port of a program."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, **labels),
        "spec": {"selector": {"app": app}, "ports": [{"port": port, "targetPort": target}]},
    }


def _pod(program: Program) -> dict[str, Any]:
    mounts = [{"name": name, "mountPath": path} for name, path in program.folders.items()]
    volumes: list[dict[str, Any]] = [{"name": name, "emptyDir": {}} for name in program.folders]
    if program.certificates:
        mounts.append({"name": "tls", "mountPath": "/tls"})
        # PostgreSQL rejects a key that others can read.
        secret = {"secretName": program.certificates, "defaultMode": 0o640}
        volumes.append({"name": "tls", "secret": secret})
    container = {
        "name": program.name,
        "image": program.image,
        "imagePullPolicy": "Never",
        "command": program.command,
        "env": [{"name": name, "value": value} for name, value in program.environment.items()],
        "envFrom": [{"secretRef": {"name": program.secret}}],
        **addons.ready_once(program.probe),
        "resources": {"requests": {"cpu": "30m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
