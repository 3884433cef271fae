"""
Translation of NetworkPolicies into one nftables table.

Traffic of pods that no policy selects is not restricted. For selected pods, traffic that no policy
allows is dropped. Replies to allowed traffic are allowed. The node can always reach its pods,
because the kubelet probes them.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from dev.policies.select import Object, World, peer_ranges, pods_in

TABLE = "agentrun-policies"

_PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}


def ruleset(policies: Sequence[Object], world: World) -> str:
    """Return the table in a form that atomically replaces the previous one."""
    hook = "type filter hook {} priority filter; policy accept;"
    first = [
        "ct state established,related accept",
        # The node's own IPv6 addresses would bypass the rules.
        'iifname != "lo" meta nfproto ipv6 drop',
    ]
    chains = [
        *_side("Egress", policies, world),
        *_side("Ingress", policies, world),
        _chain("input", [hook.format("input"), *first, "jump egress"]),
        _chain("forward", [hook.format("forward"), *first, "jump egress", "jump ingress"]),
    ]
    # Added first in case it does not exist: only an existing table can be deleted.
    head = [f"table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    return "\n".join([*head, *chains, "}", ""])


def _side(side: str, policies: Sequence[Object], world: World) -> Iterator[str]:
    """Yield the chains that map each pod to the rules of the policies that select it."""
    name, own = side.lower(), "saddr" if side == "Egress" else "daddr"
    selecting: dict[str, list[int]] = {}
    for number, policy in enumerate(policies):
        spec, namespace = policy["spec"], policy["metadata"]["namespace"]
        if side in _types(spec):
            for pod in pods_in(world, namespace, spec.get("podSelector") or {}):
                for address in pod.addresses:
                    selecting.setdefault(address, []).append(number)
    names = {
        group: f"{name}-{'-'.join(map(str, group))}" for group in map(tuple, selecting.values())
    }
    for group, chain in sorted(names.items()):
        allowed = [rule for number in group for rule in _allowed(side, policies[number], world)]
        yield _chain(chain, [*allowed, "drop"])
    verdicts = ", ".join(
        f"{address} : jump {names[tuple(numbers)]}"
        for address, numbers in sorted(selecting.items())
    )
    yield _chain(name, [f"ip {own} vmap {{ {verdicts} }}"] if verdicts else [])


def _types(spec: Object) -> list[str]:
    """Return the policy's types; the default is Ingress, and Egress if it has egress rules."""
    default = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return list(spec.get("policyTypes") or default)


def _allowed(side: str, policy: Object, world: World) -> Iterator[str]:
    """Yield the rules that return from the chain for traffic that the policy allows."""
    peers_key, other = ("to", "daddr") if side == "Egress" else ("from", "saddr")
    namespace = policy["metadata"]["namespace"]
    for rule in policy["spec"].get(side.lower()) or ():
        addresses = ""
        if peers := rule.get(peers_key):
            ranges = _collapse(one for peer in peers for one in peer_ranges(world, namespace, peer))
            if not ranges:
                continue
            addresses = f"ip {other} {{ {', '.join(ranges)} }} "
        for port in _ports(rule.get("ports")):
            yield f"{addresses}{port}return"


def _collapse(ranges: Iterator[str]) -> list[str]:
    """Merge overlapping ranges: nftables rejects a set that contains an address twice."""
    joined = ipaddress.collapse_addresses(map(ipaddress.IPv4Network, ranges))
    return [str(one).removesuffix("/32") for one in joined]


def _ports(ports: Any) -> Iterator[str]:
    if not ports:
        yield ""
    for port in ports or ():
        protocol = f"meta l4proto {_PROTOCOLS[port.get('protocol', 'TCP')]} "
        number = port.get("port")
        if number is None:
            yield protocol
        elif isinstance(number, int):
            last = port.get("endPort", number)
            yield f"{protocol}th dport {number}{f'-{last}' if last != number else ''} "


def _chain(name: str, rules: list[str]) -> str:
    body = "".join(f"  {rule}\n" for rule in rules)
    return f" chain {name} {{\n{body} }}"
