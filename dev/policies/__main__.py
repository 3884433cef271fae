"""
The process that applies the cluster's NetworkPolicies to the node.

``python -m dev.policies HEALTH_ADDRESS HEALTH_PORT``, with KUBECONFIG, in the node's network
namespace.
"""

import asyncio
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer

from agentrun.kube.api import KubeApi
from agentrun.kube.client import connect
from agentrun.kube.resources import PODS, Resource
from dev.policies.rules import ruleset
from dev.policies.select import read_world
from dev.policies.watch import Watched

_RESOURCES = (
    Resource("/apis/networking.k8s.io/v1", "networkpolicies"),
    PODS,
    Resource("/api/v1", "namespaces", is_namespaced=False),
)


class Enforcer:
    """Rewrites the rules after every change."""

    def __init__(self, kube: KubeApi) -> None:
        self._changed = asyncio.Event()
        self._watched = [Watched(kube, resource, self._changed) for resource in _RESOURCES]
        self.written = threading.Event()
        """Set once the rules are applied for the first time."""

    async def run(self) -> None:
        """Watch the cluster and apply its rules, until the process is killed."""
        async with asyncio.TaskGroup() as tasks:
            for watched in self._watched:
                tasks.create_task(watched.follow())
            await self._enforce()

    async def _enforce(self) -> None:
        for watched in self._watched:
            await watched.is_listed.wait()
        last = ""
        while True:
            await self._changed.wait()
            self._changed.clear()
            policies, pods, namespaces = (watched.objects() for watched in self._watched)
            rules = ruleset(policies, read_world(pods, namespaces))
            if rules != last:
                # A rejected ruleset ends this process: partial enforcement is worse than none.
                await asyncio.to_thread(
                    subprocess.run, ["nft", "-f", "-"], input=rules, text=True, check=True
                )
                last = rules
            self.written.set()


def serve_health(address: str, port: int, is_well: threading.Event) -> None:
    """Serve a health check, which returns 200 once the rules are applied and 503 before."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if is_well.is_set() else 503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Suppress the request log."""

    class Server(ThreadingTCPServer):
        # Not HTTPServer: it resolves its host name, and there is no DNS here.
        allow_reuse_address = True
        daemon_threads = True

    server = Server((address, port), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()


async def main(address: str, port: str) -> None:
    """Enforce NetworkPolicies until the process is killed."""
    async with connect() as kube:
        enforcer = Enforcer(kube)
        serve_health(address, int(port), enforcer.written)
        await enforcer.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
