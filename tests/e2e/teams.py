"""
The services around a team's cluster, for the tests of profiles: created once, removed at the end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from dev import fixtures, paths, product, registry, team
from tests.e2e.cluster import RUNS, Json, delete, gone, held, kubectl, until
from tests.e2e.pods import is_ready

CLAIM = "team-cache"
MCP_SERVER = paths.DEV / "agent" / "mcp_server.py"


@dataclass(frozen=True)
class Team:
    """The servers, and the keys for them."""

    keys: Path

    def key(self, name: str) -> str:
        """Return one of the keys made for the test."""
        return (self.keys / name).read_text(encoding="ascii")

    async def logs(self, container: str) -> str:
        """Return the logs of a server."""
        return await kubectl("logs", team.NAME, "-n", fixtures.NAMESPACE, "-c", container)


async def serves(pod: str) -> None:
    """Wait until a pod of the fixtures is ready."""
    await until("pod", pod, is_ready, fixtures.NAMESPACE, 90)


@asynccontextmanager
async def surroundings(folder: Path) -> AsyncIterator[Team]:
    """Create the servers, and the objects in the runs' namespace that profiles refer to."""
    await asyncio.to_thread(team.make_keys, folder)
    there = Team(folder)
    # The remains of an earlier test run are deleted first: its servers have other keys.
    await delete("pod", team.NAME, registry.NAME, namespace=fixtures.NAMESPACE)
    await delete("persistentvolumeclaim", CLAIM)
    await asyncio.gather(
        gone("pod", team.NAME, fixtures.NAMESPACE),
        gone("pod", registry.NAME, fixtures.NAMESPACE),
        gone("persistentvolumeclaim", CLAIM),
    )
    async with held(*team.objects(folder), *_named_by_profiles(there)):
        await serves(team.NAME)
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
    """Build a ConfigMap in the runs' namespace."""
    names = {"name": name, "namespace": RUNS}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": names, "data": data}


def secret(name: str, kind: str, **data: str) -> Json:
    """Build a Secret in the runs' namespace."""
    names = {"name": name, "namespace": RUNS}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": names,
            "stringData": data}  # fmt: skip
