"""Stand-ins for external services: the scripted model, a git server, a remote agent."""

import hashlib
from dataclasses import replace
from typing import Any

from dev import addons, cluster, images, paths, product, workloads
from dev.shell import step

NAMESPACE = workloads.NAMESPACE
PORT, SILENT_PORT = 8080, 8081
VOLUMES = {"tmp": "/tmp", "git": "/srv/git"}


def apply(name: str) -> None:
    """Apply the fixtures to the cluster and wait until they are ready."""
    with step("applying the fixtures"):
        cluster.kubectl(name, "apply", "-f", "-", stdin=addons.manifest(objects()))
        for deployment in ("model", "git", "a2a"):
            what = f"deployment/{deployment}"
            cluster.kubectl(name, "-n", NAMESPACE, "rollout", "status", what, "--timeout=90s")


def objects() -> list[dict[str, Any]]:
    """Build all objects, in the order of creation."""
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": level},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": workloads.metadata("accounts"),
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
        workloads.deployment(_program("model", "dev.model", health)),
        workloads.deployment(_program("git", "dev.git", {"tcpSocket": {"port": PORT}})),
        workloads.deployment(_remote(health)),
        workloads.service("model", "model", PORT, PORT),
        workloads.service("git", "git", PORT, PORT),
        workloads.service("a2a", "a2a", PORT, PORT),
        # Accepts connections and never responds, like a server that hangs.
        workloads.service("silent", "model", PORT, SILENT_PORT),
    ]


def _program(name: str, module: str, health: dict[str, Any]) -> workloads.Program:
    return workloads.Program(
        name=name,
        image=images.name_of("dev"),
        command=["/opt/venv/bin/python", "-m", module],
        probe=health,
        folders=VOLUMES,
        secret="accounts",
        environment={"SILENT_PORT": str(SILENT_PORT)},
        sources=_digest(),
    )


def _remote(health: dict[str, Any]) -> workloads.Program:
    program = _program("a2a", "dev.a2a", health)
    return replace(program, environment={"A2A_URL": product.REMOTE})


def _digest() -> str:
    digest = hashlib.sha256()
    for folder in ("a2a", "git", "model"):
        for file in sorted((paths.DEV / folder).glob("*.*")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
