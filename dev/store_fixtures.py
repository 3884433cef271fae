"""
PostgreSQL and S3 in the cluster, for the tests of several MCP servers.

They are separate from the ordinary fixtures because nothing else needs them. The data lives as long
as the pods: it survives a process that is killed.
"""

import base64
from pathlib import Path
from typing import Any

from dev import addons, cluster, images, paths, pki, workloads
from dev.shell import step
from dev.stores.s3 import BUCKET
from dev.stores.s3 import PORT as S3_PORT

NAMES = ("postgres", "s3")
POSTGRES_PORT = 5432
PASSWORD = "development/only?"
"""It contains characters that must be escaped in a URL."""
DATABASE_URL = f"postgresql://agentrun@postgres.{workloads.NAMESPACE}.svc:{POSTGRES_PORT}/agentrun"
BLOBS_URL = f"s3://{BUCKET}/blobs"
S3_URL = f"http://s3.{workloads.NAMESPACE}.svc:{S3_PORT}"
S3_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "development", "AWS_SECRET_ACCESS_KEY": "development-only"}

_IN = ("-n", workloads.NAMESPACE)


def apply(name: str) -> None:
    """Build the stores' image, apply the stores, and wait until they are ready."""
    images.provide(name, "stores")
    with step("applying the stores"):
        cluster.kubectl(
            name, "apply", "-f", "-", stdin=addons.manifest(objects(_certificates(name)))
        )
        for deployment in NAMES:
            what = f"deployment/{deployment}"
            cluster.kubectl(name, *_IN, "rollout", "status", what, "--timeout=120s")


def remove(name: str) -> None:
    """Delete the stores and their data from the cluster."""
    with step("removing the stores"):
        for kind in ("deployment", "service", "secret"):
            cluster.kubectl(name, *_IN, "delete", kind, "-l", "part=stores", "--ignore-not-found")


def authority(name: str) -> str:
    """Return the CA certificate of the database's certificate."""
    return (_certificates(name) / "ca.crt").read_text(encoding="ascii")


def objects(certificates: Path) -> list[dict[str, Any]]:
    """Build all objects, in the order of creation."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": workloads.metadata("stores", part="stores"),
        "stringData": {"PGPASSWORD": PASSWORD},
        "data": {
            "tls.crt": _encoded(certificates / "postgres.crt"),
            "tls.key": _encoded(certificates / "postgres.key"),
        },
    }
    postgres = _program("postgres", ["sh", "/opt/stores/postgres.sh"], POSTGRES_PORT)
    s3 = _program("s3", ["python", "/opt/stores/s3.py"], S3_PORT)
    return [
        secret,
        workloads.deployment(postgres),
        workloads.deployment(s3),
        workloads.service("postgres", "postgres", POSTGRES_PORT, POSTGRES_PORT, part="stores"),
        workloads.service("s3", "s3", S3_PORT, S3_PORT, part="stores"),
    ]


def _program(name: str, command: list[str], port: int) -> workloads.Program:
    return workloads.Program(
        name=name,
        image=images.name_of("stores"),
        command=command,
        probe={"tcpSocket": {"port": port}},
        folders={"data": "/var/lib/postgresql", "tmp": "/tmp"},
        secret="stores",
        certificates="stores",
        labels={"part": "stores"},
    )


def _certificates(name: str) -> Path:
    folder = paths.state(name) / "stores"
    host = f"postgres.{workloads.NAMESPACE}.svc"
    pki.serving(folder, "postgres", host, [f"DNS:{host}"])
    return folder


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
