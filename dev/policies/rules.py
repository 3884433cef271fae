"""
Writing NetworkPolicies as one table of nftables.

A pod that no policy selects is left alone. Where policies select it, what none of them allows is
dropped. Answers belong to what was allowed. The node itself always reaches its pods: its kubelet
has to probe them.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from dev.policies.select import Object, World, peer_ranges, pods_in

TABLE = "agentrun-policies"

_PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}


def ruleset(policies: Sequence[Object], world: World) -> str:
    """Write the table, in a form that replaces the one before in one step."""
    hook = "type filter hook {} priority filter; policy accept;"
    first = [
        "ct state established,related accept",
        # The node's own addresses of IPv6 would lead past all of this.
        'iifname != "lo" meta nfproto ipv6 drop',
    ]
    chains = [
        *_side("Egress", policies, world),
        *_side("Ingress", policies, world),
        _chain("input", [hook.format("input"), *first, "jump egress"]),
        _chain("forward", [hook.format("forward"), *first, "jump egress", "jump ingress"]),
    ]
    # It is added in case it is not there: what is not there cannot be deleted.
    head = [f"table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    return "\n".join([*head, *chains, "}", ""])


def _side(side: str, policies: Sequence[Object], world: World) -> Iterator[str]:
    """Write the chain that sends each pod's traffic to the rules of the policies that select it."""
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
    """Say which sides a policy is about: as it says, else Ingress, and Egress if it has rules."""
    default = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return list(spec.get("policyTypes") or default)


def _allowed(side: str, policy: Object, world: World) -> Iterator[str]:
    """Write what a policy allows on one side; what is allowed leaves the chain."""
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
    """Join what overlaps: nftables takes no set in which an address is twice."""
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
