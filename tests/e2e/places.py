"""Containers from which tests check what is reachable over the network."""

import json
from dataclasses import dataclass

from dev import images
from tests.e2e.cluster import Json, items, kubectl

# Prints which of the addresses given as HOST:PORT accept a connection.
PROBE = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def answers(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        return True
    except OSError:
        return False
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(dict(zip(sys.argv[1:], pool.map(answers, sys.argv[1:])))))
"""


@dataclass(frozen=True)
class Place:
    """A container from which connections are tried."""

    namespace: str
    pod: str
    container: str

    async def run(self, *command: str) -> str:
        """Run a command in the container."""
        where = ("-n", self.namespace, self.pod, "-c", self.container)
        return await kubectl("exec", *where, "--", *command)

    async def reached(self, *addresses: str) -> set[str]:
        """Return which of ``addresses`` accept a connection from there."""
        answers = json.loads(await self.run("python3", "-c", PROBE, *addresses))
        return {address for address, answered in answers.items() if answered}


async def ordinary_pod() -> Place:
    """Return a pod that no NetworkPolicy selects: the scripted model's."""
    pods = await items("pods", labels="app=model", namespace="agentrun-dev")
    return Place("agentrun-dev", pods[0]["metadata"]["name"], "model")


def a_pod(name: str, namespace: str, **spec: object) -> Json:
    """Build a pod without permissions that only waits; its container is `look`."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "look",
                    "image": images.name_of("dev"),
                    "imagePullPolicy": "Never",
                    "command": ["sleep", "infinity"],
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
            **spec,
        },
    }
