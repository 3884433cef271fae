"""
The process that applies the cluster's NetworkPolicies to the node.

``python -m dev.policies SERVER AUTHORITY CERTIFICATE KEY HEALTH_ADDRESS HEALTH_PORT``, in the
node's network namespace.
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
    """Rewrites the rules after every change."""

    def __init__(self, api: Api) -> None:
        self._changed = threading.Event()
        self._watched = [Watched(api, path, self._changed.set) for path in _KINDS]
        self.written = threading.Event()
        """Set once the rules are applied for the first time."""

    def run(self) -> None:
        """Watch the cluster and apply its rules, until the process is killed."""
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
                # A rejected ruleset ends this process: partial enforcement is worse than none.
                subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
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


def main(server: str, authority: str, certificate: str, key: str, address: str, port: str) -> None:
    """Enforce NetworkPolicies until the process is killed."""
    enforcer = Enforcer(Api(server, authority, certificate, key))
    serve_health(address, int(port), enforcer.written)
    enforcer.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
