"""An image registry that asks who comes, and telling the node's containerd where it is."""

import json
from pathlib import Path
from typing import Any

import httpx2

from dev import addons, fixtures, images, oci, paths
from dev.components import Cluster

NAME = "registry"
PORT = 5000
HOST = "registry.corp.example"
"""The name under which images are pulled. Only containerd knows it."""
USER, PASSWORD = "team", "development-only"
# The password's bcrypt hash, which is the only kind that the registry takes.
_HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuY19d5SHDa02cfqEAQRxPBAXJVnxX1d2"
_CONFIG = {
    "version": 0.1,
    "http": {"addr": f":{PORT}"},
    "storage": {"filesystem": {"rootdirectory": "/tmp/registry"}},
    "auth": {"htpasswd": {"realm": "registry", "path": "/config/htpasswd"}},
    "log": {"level": "warn"},
}


def objects() -> list[dict[str, Any]]:
    """Build the registry: a pod, its Service, and who is let in."""
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
    """Tell containerd that ``HOST`` is at ``url``; it reads this again for each pull."""
    folder = c.config("registries") / HOST
    folder.mkdir(parents=True, exist_ok=True)
    text = f'server = "{url}"\n[host."{url}"]\ncapabilities = ["pull", "resolve"]\n'
    (folder / "hosts.toml").write_text(text, encoding="utf-8")


def push(image: str, url: str, name: str, tag: str) -> None:
    """
    Push an image that was built here, to the registry at ``url``.

    The blobs go as they lie in the layout that containerd was given them from: so the node has
    its layers already, and pulls only what says which they are.
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
