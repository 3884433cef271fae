"""
The cluster's network: a namespace of its own, joined to the host by one cable.

Nothing is changed on the host but that cable's end and two routes into the namespace, which
disappear with it. Addresses are derived from the cluster's name, so that clusters of different
names do not meet.
"""

import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from dev.shell import DevError, attempt, run

SLOTS = 100
"""How many clusters have room side by side: 10.100 to 10.199."""


@dataclass(frozen=True)
class Network:
    """Every name and address of one cluster's network."""

    namespace: str
    host_end: str
    node_end: str
    slot: int

    @property
    def services(self) -> str:
        """The range of the Services' addresses."""
        return f"10.{100 + self.slot}.0.0/20"

    @property
    def pods(self) -> str:
        """The range of the pods' addresses: room for a quick succession of 250 at once."""
        return f"10.{100 + self.slot}.16.0/20"

    @property
    def api(self) -> str:
        """The API server's address as a Service: always the first."""
        return f"10.{100 + self.slot}.0.1"

    @property
    def dns(self) -> str:
        """The address the pods ask for names."""
        return f"10.{100 + self.slot}.0.10"

    @property
    def host(self) -> str:
        """The host, as the node sees it."""
        return f"10.{100 + self.slot}.255.1"

    @property
    def node(self) -> str:
        """The node, as everybody sees it."""
        return f"10.{100 + self.slot}.255.2"

    @property
    def path(self) -> Path:
        """The namespace as a file to enter."""
        return Path("/run/netns") / self.namespace


def network_of(cluster: str, slot: int | None = None) -> Network:
    """Derive the network of ``cluster`` from its name."""
    digest = hashlib.sha256(cluster.encode()).digest()
    # A device's name has 15 characters at most, a cluster's may have more.
    cable = f"ar{digest.hex()[:8]}"
    if slot is None:
        slot = int.from_bytes(digest[:4], "big") % SLOTS
    return Network(f"agentrun-{cluster}", f"{cable}h", f"{cable}n", slot)


def free_network(cluster: str) -> Network:
    """Find a network for ``cluster`` that meets no route the host already has."""
    taken = parse_routes(run(["ip", "-4", "route", "show", "table", "all"]))
    wanted = network_of(cluster).slot
    for offset in range(SLOTS):
        network = network_of(cluster, (wanted + offset) % SLOTS)
        block = ipaddress.ip_network(f"10.{100 + network.slot}.0.0/16")
        if not any(block.overlaps(route) for route in taken):
            return network
    raise DevError("every range from 10.100.0.0/16 to 10.199.0.0/16 is in use on this host")


def parse_routes(text: str) -> list[ipaddress.IPv4Network]:
    """Read the destinations out of what ``ip route show`` prints, but for the default."""
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
    """Make the namespace and its cable, or what is missing of them."""
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
    # An answer between two pods must pass the translation that its question passed.
    # And what they say to each other must pass the rules of their NetworkPolicies, in IPv6 too.
    switches = "echo 1 | tee bridge-nf-call-iptables bridge-nf-call-ip6tables >/dev/null"
    bridged = f"! cd /proc/sys/net/bridge 2>/dev/null || {switches}"
    run(["nsenter", f"--net={network.path}", "sh", "-c", f"{forward} && {{ {bridged}; }}"])


def delete(network: Network) -> None:
    """Remove the namespace, and with it the cable and the routes."""
    attempt(["ip", "link", "delete", network.host_end])
    if network.path.exists():
        run(["ip", "netns", "delete", network.namespace])
