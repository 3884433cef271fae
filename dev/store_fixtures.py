"""
PostgreSQL and S3 in the cluster, for the tests of several front doors.

They are not part of the ordinary fixtures: nothing else needs them. The data lives as long as the
pods; a process that is killed finds it again.
"""

import base64
from pathlib import Path
from typing import Any

from dev import addons, cluster, fixtures, images, paths, pki
from dev.shell import step
from dev.stores.s3 import BUCKET
from dev.stores.s3 import PORT as S3_PORT

NAMES = ("postgres", "s3")
POSTGRES_PORT = 5432
PASSWORD = "development/only?"
"""With characters that a URL would have to escape."""
DATABASE_URL = f"postgresql://agentrun@postgres.{fixtures.NAMESPACE}.svc:{POSTGRES_PORT}/agentrun"
BLOBS_URL = f"s3://{BUCKET}/blobs"
S3_URL = f"http://s3.{fixtures.NAMESPACE}.svc:{S3_PORT}"
S3_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "development", "AWS_SECRET_ACCESS_KEY": "development-only"}


def apply(name: str) -> None:
    """Build their image, put them into the cluster, and wait until they serve."""
    images.build(name, ["stores"])
    with step("applying the stores"):
        cluster.kubectl(
            name, "apply", "-f", "-", stdin=addons.manifest(objects(_certificates(name)))
        )
        for deployment in NAMES:
            what = f"deployment/{deployment}"
            cluster.kubectl(name, *_IN, "rollout", "status", what, "--timeout=120s")


def remove(name: str) -> None:
    """Take them out of the cluster, with what they keep."""
    with step("removing the stores"):
        for kind in ("deployment", "service", "secret"):
            cluster.kubectl(name, *_IN, "delete", kind, "-l", "part=stores", "--ignore-not-found")


def authority(name: str) -> str:
    """Return the certificate of the authority that signed the database's."""
    return (_certificates(name) / "ca.crt").read_text(encoding="ascii")


def objects(certificates: Path) -> list[dict[str, Any]]:
    """Build everything, in the order of creation."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata("postgres"),
        "stringData": {"PGPASSWORD": PASSWORD},
        "data": {
            "tls.crt": _encoded(certificates / "postgres.crt"),
            "tls.key": _encoded(certificates / "postgres.key"),
        },
    }
    return [
        secret,
        _deployment("postgres", ["sh", "/opt/stores/postgres.sh"], POSTGRES_PORT),
        _deployment("s3", ["python", "/opt/stores/s3.py"], S3_PORT),
        _service("postgres", POSTGRES_PORT),
        _service("s3", S3_PORT),
    ]


_IN = ("-n", fixtures.NAMESPACE)


def _certificates(name: str) -> Path:
    folder = paths.state(name) / "stores"
    host = f"postgres.{fixtures.NAMESPACE}.svc"
    pki.serving(folder, "postgres", host, [f"DNS:{host}"])
    return folder


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def _metadata(name: str) -> dict[str, Any]:
    labels = {"app": name, "part": "stores"}
    return {"name": name, "namespace": fixtures.NAMESPACE, "labels": labels}


def _deployment(name: str, command: list[str], port: int) -> dict[str, Any]:
    key = {
        "name": "PGPASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "postgres", "key": "PGPASSWORD"}},
    }
    folders = {"data": "/var/lib/postgresql", "tmp": "/tmp", "tls": "/tls"}
    container = {
        "name": name,
        "image": images.name_of("stores"),
        "imagePullPolicy": "Never",
        "command": command,
        "env": [key],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": v, "mountPath": p} for v, p in folders.items()],
    }
    # PostgreSQL refuses a key that others may read.
    secret = {"name": "tls", "secret": {"secretName": "postgres", "defaultMode": 0o640}}
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
        "volumes": [secret, *({"name": v, "emptyDir": {}} for v in ("data", "tmp"))],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(name),
        "spec": {
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    }


def _service(name: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(name),
        "spec": {"selector": {"app": name}, "ports": [{"port": port}]},
    }
