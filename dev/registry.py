"""An image registry that requires a password, and its configuration in the node's containerd."""

import json
from typing import Any

from dev import addons, fixtures, images, oci
from dev.components import Cluster

NAME = "registry"
PORT = 5000
HOST = "registry.corp.example"
"""The host name in image references. Only containerd can resolve it."""
USER, PASSWORD = "team", "development-only"
# The password's bcrypt hash: the registry supports no other kind.
_HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuY19d5SHDa02cfqEAQRxPBAXJVnxX1d2"
_CONFIG = {
    "version": 0.1,
    "http": {"addr": f":{PORT}"},
    "storage": {"filesystem": {"rootdirectory": "/tmp/registry"}},
    "auth": {"htpasswd": {"realm": "registry", "path": "/config/htpasswd"}},
    "log": {"level": "warn"},
}


def objects() -> list[dict[str, Any]]:
    """Build the registry's objects: a Secret, a Service and a pod."""
    names = {"name": NAME, "namespace": fixtures.NAMESPACE, "labels": {"app": NAME}}
    files = {"config.yml": json.dumps(_CONFIG), "htpasswd": _HTPASSWD}
    container = {
        "name": NAME,
        "image": images.name_of("dev"),
        "imagePullPolicy": "Never",
        "command": ["docker-registry", "serve", "/config/config.yml"],
        **addons.ready_once({"tcpSocket": {"port": PORT}}),
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "config", "mountPath": "/config"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "config", "secret": {"secretName": NAME}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    service = {"selector": {"app": NAME}, "ports": [{"port": PORT}]}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": names, "stringData": files},
        {"apiVersion": "v1", "kind": "Service", "metadata": names, "spec": service},
        {"apiVersion": "v1", "kind": "Pod", "metadata": names, "spec": pod},
    ]


def introduce(c: Cluster, url: str) -> None:
    """Configure containerd to reach ``HOST`` at ``url``. It reads the file on each pull."""
    folder = c.config("registries") / HOST
    folder.mkdir(parents=True, exist_ok=True)
    text = f'server = "{url}"\n[host."{url}"]\ncapabilities = ["pull", "resolve"]\n'
    (folder / "hosts.toml").write_text(text, encoding="utf-8")


def push(image: str, url: str, name: str, tag: str) -> None:
    """
    Push a locally built image to the registry at ``url``.

    The node already has the layers, if the image was loaded, and pulls only the manifest.
    """
    destination = f"docker://{url.removeprefix('http://')}/{name}:{tag}"
    oci.push(image, destination, "--tls-verify=false", f"--creds={USER}:{PASSWORD}")
