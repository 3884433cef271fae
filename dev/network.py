"""
The cluster's network: a network namespace connected to the host by a veth pair.

The only changes on the host are its end of the pair and two routes into the namespace, which are
removed with it. Addresses are derived from the cluster's name, so that clusters of different names
do not conflict.
"""

import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from dev.shell import DevError, attempt, run

SLOTS = 100
"""The maximum number of clusters on a host: 10.100 to 10.199."""


@dataclass(frozen=True)
class Network:
    """All names and addresses of a cluster's network."""

    namespace: str
    host_end: str
    node_end: str
    slot: int

    @property
    def services(self) -> str:
        """The address range of the Services."""
        return f"10.{100 + self.slot}.0.0/20"

    @property
    def pods(self) -> str:
        """The address range of the pods, large enough for a quick succession of 250 at once."""
        return f"10.{100 + self.slot}.16.0/20"

    @property
    def api(self) -> str:
        """The API server's ClusterIP: always the first address."""
        return f"10.{100 + self.slot}.0.1"

    @property
    def dns(self) -> str:
        """The ClusterIP of the DNS."""
        return f"10.{100 + self.slot}.0.10"

    @property
    def host(self) -> str:
        """The host's address, as seen from the node."""
        return f"10.{100 + self.slot}.255.1"

    @property
    def node(self) -> str:
        """The node's address, as seen from everywhere."""
        return f"10.{100 + self.slot}.255.2"

    @property
    def path(self) -> Path:
        """The file of the network namespace."""
        return Path("/run/netns") / self.namespace


def network_of(cluster: str, slot: int | None = None) -> Network:
    """Derive the network of ``cluster`` from its name."""
    digest = hashlib.sha256(cluster.encode()).digest()
    # The name of a network device has at most 15 characters; a cluster's may have more.
    cable = f"ar{digest.hex()[:8]}"
    if slot is None:
        slot = int.from_bytes(digest[:4], "big") % SLOTS
    return Network(f"agentrun-{cluster}", f"{cable}h", f"{cable}n", slot)


def free_network(cluster: str) -> Network:
    """Return a network for ``cluster`` that overlaps no route of the host, else raise DevError."""
    taken = parse_routes(run(["ip", "-4", "route", "show", "table", "all"]))
    wanted = network_of(cluster).slot
    for offset in range(SLOTS):
        network = network_of(cluster, (wanted + offset) % SLOTS)
        block = ipaddress.ip_network(f"10.{100 + network.slot}.0.0/16")
        if not any(block.overlaps(route) for route in taken):
            return network
    raise DevError("every range from 10.100.0.0/16 to 10.199.0.0/16 is in use on this host")


def parse_routes(text: str) -> list[ipaddress.IPv4Network]:
    """Parse the destinations in the output of ``ip route show``, without the default route."""
    routes = []
    for line in text.splitlines():
        for word in line.split()[:2]:
            try:
                routes.append(ipaddress.IPv4Network(word, strict=False))
            except ValueError:
                continue
            break
    return [route for route in routes if route.prefixlen > 0]


def create(network: Network) -> None:
    """Create the namespace and its veth pair, or what is missing of them."""
    inside = ["ip", "-n", network.namespace]
    if not network.path.exists():
        run(["ip", "netns", "add", network.namespace])
    if attempt([*inside, "link", "show", network.node_end]).returncode != 0:
        attempt(["ip", "link", "delete", network.host_end])
        pair = ["type", "veth", "peer", "name", network.node_end, "netns", network.namespace]
        run(["ip", "link", "add", network.host_end, *pair])
    run(["ip", "addr", "replace", f"{network.host}/30", "dev", network.host_end])
    run(["ip", "link", "set", network.host_end, "up"])
    run([*inside, "addr", "replace", f"{network.node}/30", "dev", network.node_end])
    run([*inside, "link", "set", network.node_end, "up"])
    run([*inside, "link", "set", "lo", "up"])
    run([*inside, "route", "replace", "default", "via", network.host])
    for target in (network.services, network.pods):
        run(["ip", "route", "replace", target, "via", network.node])
    forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
    # A reply between two pods must pass the address translation that the request passed.
    # And traffic between pods must pass the rules of their NetworkPolicies, in IPv6 too.
    switches = "echo 1 | tee bridge-nf-call-iptables bridge-nf-call-ip6tables >/dev/null"
    bridged = f"! cd /proc/sys/net/bridge 2>/dev/null || {switches}"
    run(["nsenter", f"--net={network.path}", "sh", "-c", f"{forward} && {{ {bridged}; }}"])


def delete(network: Network) -> None:
    """Delete the namespace, and with it the veth pair and the routes."""
    attempt(["ip", "link", "delete", network.host_end])
    if network.path.exists():
        run(["ip", "netns", "delete", network.namespace])
