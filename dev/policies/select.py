"""The pods that a NetworkPolicy selects, by the rules of the Kubernetes API."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod that is not on the host's network."""

    namespace: str
    labels: Mapping[str, str]
    addresses: tuple[str, ...]
    """The IPv4 addresses."""


@dataclass(frozen=True)
class World:
    """The existing pods, and the labels of their namespaces."""

    pods: tuple[Pod, ...]
    namespaces: Mapping[str, Mapping[str, str]]


def read_world(pods: Sequence[Object], namespaces: Sequence[Object]) -> World:
    """Read the pods that NetworkPolicies apply to: active ones that are not on the host network."""
    found = tuple(
        Pod(
            pod["metadata"]["namespace"],
            pod["metadata"].get("labels") or {},
            tuple(ip["ip"] for ip in pod["status"].get("podIPs") or () if ":" not in ip["ip"]),
        )
        for pod in pods
        # The address of a finished pod may belong to another pod by now.
        if pod.get("status", {}).get("phase") in ("Pending", "Running")
        and not pod["spec"].get("hostNetwork")
    )
    labels = {ns["metadata"]["name"]: ns["metadata"].get("labels") or {} for ns in namespaces}
    return World(found, labels)


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Return whether ``labels`` match a LabelSelector; an empty one matches everything."""
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _satisfies(rule, labels) for rule in selector.get("matchExpressions") or ()
    )


def _satisfies(rule: Object, labels: Mapping[str, str]) -> bool:
    key, values = rule["key"], rule.get("values") or ()
    match rule["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise ValueError(f"{rule['operator']} is no operator of a LabelSelector")


def pods_in(world: World, namespace: str, selector: Object) -> Iterator[Pod]:
    """Yield the pods of a namespace that a selector matches."""
    return (
        pod for pod in world.pods if pod.namespace == namespace and matches(selector, pod.labels)
    )


def peer_ranges(world: World, namespace: str, peer: Object) -> list[str]:
    """Return the address ranges of a NetworkPolicyPeer in a policy of ``namespace``."""
    if block := peer.get("ipBlock"):
        return _block(block)
    if "namespaceSelector" in peer:
        chosen = peer["namespaceSelector"] or {}
        names = [name for name, labels in world.namespaces.items() if matches(chosen, labels)]
    else:
        names = [namespace]
    selector = peer.get("podSelector") or {}
    return [ip for name in names for pod in pods_in(world, name, selector) for ip in pod.addresses]


def _block(block: Object) -> list[str]:
    """Return an IP block without its exceptions. IPv6 is omitted, as the cluster has none."""
    left = [ipaddress.ip_network(block["cidr"], strict=False)]
    for text in block.get("except") or ():
        hole = ipaddress.ip_network(text, strict=False)
        left = [rest for part in left for rest in _without(part, hole)]
    return [str(part) for part in left if part.version == 4]


def _without(part: Any, hole: Any) -> list[Any]:
    if part.version != hole.version or not part.overlaps(hole):
        return [part]
    return [] if part.subnet_of(hole) else list(part.address_exclude(hole))
