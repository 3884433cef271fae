"""What surrounds a team's cluster, for the tests of profiles: made once, and removed at the end."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev import fixtures, paths, product, team
from tests.e2e.cluster import RUNS

Json = dict[str, Any]
CLAIM = "team-cache"
MCP_SERVER = paths.DEV / "agent" / "mcp_server.py"


@dataclass(frozen=True)
class Team:
    """The servers, and the keys that open them."""

    env: dict[str, str]
    keys: Path

    def key(self, name: str) -> str:
        """Return one of the keys made for the test."""
        return (self.keys / name).read_text(encoding="ascii")

    def logs(self, container: str) -> str:
        """Return what a server has written down."""
        where = ("-n", fixtures.NAMESPACE, team.NAME, "-c", container)
        return product.kube(self.env, "logs", *where)


@contextmanager
def made(env: dict[str, str], *objects: Json) -> Iterator[None]:
    """Create objects, and remove them at the end."""
    product.apply(env, *objects)
    try:
        yield
    finally:
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        flags = ("--ignore-not-found", "--wait=false", "-f", "-")
        product.kube(env, "delete", *flags, stdin=document)


@contextmanager
def surroundings(cluster: str, folder: Path) -> Iterator[Team]:
    """Make the servers, and what profiles name of them in the runs' namespace."""
    env = product.environment(cluster)
    team.make_keys(folder)
    there = Team(env, folder)
    with made(env, *team.objects(folder), *_named_by_profiles(there)):
        ready = ("--for=condition=Ready", f"pod/{team.NAME}", "--timeout=90s")
        product.kube(env, "wait", "-n", fixtures.NAMESPACE, *ready)
        yield there


def _named_by_profiles(there: Team) -> list[Json]:
    known = team.known_hosts(there.keys, "host")
    other = team.known_hosts(there.keys, "other-host")
    passwords = {"username": product.GIT_USER, "password": product.GIT_PASSWORD}
    return [
        config_map("team-ca", {"ca.pem": there.key("ca.crt"), "empty": "nothing"}),
        config_map("team-rules", {"rules.md": "Count in sevens.\n"}),
        config_map("team-mcp", {"server.py": MCP_SERVER.read_text(encoding="utf-8")}),
        secret("team-password", "kubernetes.io/basic-auth", **passwords),
        secret("team-wrong", "kubernetes.io/basic-auth", **(passwords | {"password": "guessed"})),
        *(
            secret(
                name,
                "kubernetes.io/ssh-auth",
                **({"known_hosts": hosts} if hosts else {}),
                **{"ssh-privatekey": there.key(key)},
            )
            for name, key, hosts in (
                ("team-ssh", "client", known),
                ("team-ssh-rsa", "rsa-client", known),
                ("team-ssh-locked", "locked-client", known),
                ("team-ssh-stranger", "stranger", known),
                ("team-ssh-unknown", "client", ""),
                ("team-ssh-changed", "client", other),
            )
        ),
        secret("team-proxy", "Opaque", url=team.PROXY_URL),
        secret(
            "team-mcp", "Opaque",
            authorization=f"Bearer {team.MCP_TOKEN}", sign="sign-of-the-stdio-server",
        ),
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM, "namespace": RUNS},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
    ]  # fmt: skip


def config_map(name: str, data: dict[str, str]) -> Json:
    """A ConfigMap beside the runs."""
    names = {"name": name, "namespace": RUNS}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": names, "data": data}


def secret(name: str, kind: str, **data: str) -> Json:
    """A Secret beside the runs."""
    names = {"name": name, "namespace": RUNS}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": names,
            "stringData": data}  # fmt: skip


def clone(url: str, folder: Path) -> str:
    """Clone a branch as a person would, and return its log."""
    subprocess.run(["git", "clone", "-q", url, str(folder)], check=True, capture_output=True)
    done = subprocess.run(
        ["git", "-C", str(folder), "log", "--all", "-p"], check=True, capture_output=True, text=True
    )
    return done.stdout
