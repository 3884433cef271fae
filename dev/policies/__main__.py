"""
The process that keeps the node's rules what the cluster's NetworkPolicies say.

``python -m dev.policies SERVER AUTHORITY CERTIFICATE KEY HEALTH_ADDRESS HEALTH_PORT``, in the
network namespace of the node.
"""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer

from dev.policies.rules import ruleset
from dev.policies.select import read_world
from dev.policies.watch import Api, Watched

_KINDS = (
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/api/v1/pods",
    "/api/v1/namespaces",
)


class Enforcer:
    """Makes the rules anew whenever something changed."""

    def __init__(self, api: Api) -> None:
        self._changed = threading.Event()
        self._watched = [Watched(api, path, self._changed.set) for path in _KINDS]
        self.written = threading.Event()
        """Set once the rules stand for the first time."""

    def run(self) -> None:
        """Follow the cluster, for ever."""
        for watched in self._watched:
            threading.Thread(target=watched.follow, daemon=True).start()
        for watched in self._watched:
            watched.listed.wait()
        last = ""
        while True:
            self._changed.wait()
            self._changed.clear()
            policies, pods, namespaces = (watched.objects() for watched in self._watched)
            rules = ruleset(policies, read_world(pods, namespaces))
            if rules != last:
                # A ruleset that is not taken ends this process: half a policy is none.
                subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
                last = rules
            self.written.set()


def serve_health(address: str, port: int, is_well: threading.Event) -> None:
    """Answer 200 once the rules stand, for whoever asks."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if is_well.is_set() else 503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing of being asked."""

    class Server(ThreadingTCPServer):
        # Not the HTTP server of the standard library: it asks a DNS that is not there for its name.
        allow_reuse_address = True
        daemon_threads = True

    server = Server((address, port), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main(server: str, authority: str, certificate: str, key: str, address: str, port: str) -> None:
    """Enforce until the process is ended."""
    enforcer = Enforcer(Api(server, authority, certificate, key))
    serve_health(address, int(port), enforcer.written)
    enforcer.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
