"""An image registry that requires a password, and its configuration in the node's containerd."""

import json
from pathlib import Path
from typing import Any

import httpx2

from dev import addons, fixtures, images, oci, paths
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

    The blobs are those of the OCI layout that containerd was loaded from: so the node already has
    the layers, and pulls only the manifest that lists them.
    """
    layout = oci.Layout(paths.cache() / "oci")
    manifest = layout.manifest_of(image)
    assert manifest is not None, f"there is no image {image}"
    with httpx2.Client(base_url=f"{url}/v2/{name}", auth=(USER, PASSWORD), timeout=120) as http:
        for digest in layout.blobs_of(manifest)[1:]:
            _push_blob(http, digest, layout.blob(digest))
        content = layout.blob(manifest["digest"]).read_bytes()
        kind_of_it = {"content-type": json.loads(content).get("mediaType", manifest["mediaType"])}
        http.put(f"/manifests/{tag}", content=content, headers=kind_of_it).raise_for_status()


def _push_blob(http: httpx2.Client, digest: str, file: Path) -> None:
    if http.head(f"/blobs/{digest}").status_code == 200:
        return
    begun = http.post("/blobs/uploads/")
    begun.raise_for_status()
    where = begun.headers["location"]
    url = f"{where}{'&' if '?' in where else '?'}digest={digest}"
    with file.open("rb") as content:
        headers = {"content-type": "application/octet-stream"}
        http.put(url, content=content, headers=headers).raise_for_status()
