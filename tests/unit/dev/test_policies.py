"""What the development cluster's enforcer makes of NetworkPolicies."""

import asyncio
import re
import subprocess
from typing import Any

import pytest

from agentrun.kube.errors import ApiUnavailableError
from agentrun.kube.resources import PODS, Resource
from dev.policies.rules import ruleset
from dev.policies.select import Pod, World, matches, peer_ranges, read_world
from dev.policies.watch import Watched
from dev.tools import DEBIAN, install_packages
from tests.fake_kube import FakeKube

RUN = Pod("agents", {"run": "a"}, ("10.0.0.1",))
OTHER = Pod("agents", {"run": "b"}, ("10.0.0.2",))
DOOR = Pod("system", {"app": "mcp"}, ("10.0.0.3",))
DNS = Pod("kube-system", {}, ("10.0.0.4",))
WORLD = World(
    (RUN, OTHER, DOOR, DNS),
    {"agents": {"name": "agents"}, "system": {"name": "system"}, "kube-system": {}},
)


def policy(spec: dict[str, Any], namespace: str = "agents") -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": spec}


def chain(text: str, name: str) -> list[str]:
    found = re.search(rf"chain {name} {{\n((?:  .*\n)*) }}\n", text)
    assert found, f"no chain {name} in\n{text}"
    return [line.strip() for line in found[1].splitlines()]


@pytest.mark.parametrize(
    ("selector", "is_met"),
    [
        ({}, True),
        ({"matchLabels": {"app": "mcp"}}, True),
        ({"matchLabels": {"app": "mcp", "tier": "x"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "mcp"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["mcp"]}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["x"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_a_selector_matches_labels_that_satisfy_all_requirements(
    selector: dict[str, Any], is_met: bool
) -> None:
    assert matches(selector, {"app": "mcp"}) is is_met


def test_an_unknown_operator_is_an_error() -> None:
    with pytest.raises(ValueError, match="Like"):
        matches({"matchExpressions": [{"key": "app", "operator": "Like"}]}, {})


@pytest.mark.parametrize(
    ("peer", "ranges"),
    [
        pytest.param(
            {"podSelector": {}}, ["10.0.0.1", "10.0.0.2"], id="pods-of-the-same-namespace"
        ),
        pytest.param(
            {"namespaceSelector": {}}, [pod.addresses[0] for pod in WORLD.pods], id="everybody"
        ),
        pytest.param(
            {
                "namespaceSelector": {"matchLabels": {"name": "system"}},
                "podSelector": {"matchLabels": {"app": "mcp"}},
            },
            ["10.0.0.3"],
            id="both-at-once",
        ),
        pytest.param(
            {"ipBlock": {"cidr": "10.0.0.0/30", "except": ["10.0.0.0/31", "fd00::/8"]}},
            ["10.0.0.2/31"],
            id="block-with-exception",
        ),
        pytest.param(
            {"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.0.0.0/8"]}}, [], id="all-excepted"
        ),
        pytest.param({"ipBlock": {"cidr": "2000::/3"}}, [], id="ipv6"),
    ],
)
def test_a_peer_is_its_addresses(peer: dict[str, Any], ranges: list[str]) -> None:
    assert sorted(peer_ranges(WORLD, "agents", peer)) == sorted(ranges)


def test_without_policies_all_traffic_is_allowed() -> None:
    text = ruleset([], WORLD)
    assert chain(text, "egress") == chain(text, "ingress") == []
    assert "drop" not in "".join(chain(text, "forward")).replace("ipv6 drop", "")


def test_a_policy_without_rules_isolates_only_its_pods() -> None:
    spec = {"podSelector": {"matchLabels": {"run": "a"}}, "policyTypes": ["Ingress", "Egress"]}
    text = ruleset([policy(spec)], WORLD)
    assert chain(text, "egress") == ["ip saddr vmap { 10.0.0.1 : jump egress-0 }"]
    assert chain(text, "ingress") == ["ip daddr vmap { 10.0.0.1 : jump ingress-0 }"]
    assert chain(text, "egress-0") == chain(text, "ingress-0") == ["drop"]


def test_traffic_of_the_node_itself_is_always_allowed() -> None:
    """Its kubelet probes pods that nobody else reaches."""
    hooks = re.findall(r"hook (\w+)", ruleset([policy({"podSelector": {}})], WORLD))
    assert sorted(hooks) == ["forward", "input"]


def test_a_rule_requires_both_its_peer_and_its_port() -> None:
    to = [{"namespaceSelector": {"matchLabels": {"name": "system"}}}, {"podSelector": {}}]
    ports = [{"port": 53, "protocol": "UDP"}, {"port": 80, "endPort": 90}]
    text = ruleset(
        [policy({"policyTypes": ["Egress"], "egress": [{"to": to, "ports": ports}]})], WORLD
    )
    peers = "ip daddr { 10.0.0.1, 10.0.0.2/31 }"
    assert chain(text, "egress-0") == [
        f"{peers} meta l4proto udp th dport 53 return",
        f"{peers} meta l4proto tcp th dport 80-90 return",
        "drop",
    ]
    assert chain(text, "ingress") == []


def test_a_rule_without_peers_or_ports_allows_all_of_them() -> None:
    text = ruleset([policy({"ingress": [{}]})], WORLD)
    assert chain(text, "ingress-0") == ["return", "drop"]


def test_a_peer_without_matching_pods_allows_nothing() -> None:
    spec = {"ingress": [{"from": [{"podSelector": {"matchLabels": {"run": "none"}}}]}]}
    assert chain(ruleset([policy(spec)], WORLD), "ingress-0") == ["drop"]


def test_a_port_by_name_is_not_supported_and_allows_nothing() -> None:
    spec = {"ingress": [{"ports": [{"port": "http"}]}]}
    assert chain(ruleset([policy(spec)], WORLD), "ingress-0") == ["drop"]


def test_policies_on_the_same_pod_add_up() -> None:
    one = policy({"ingress": [{"ports": [{"port": 1}]}]})
    two = policy(
        {"podSelector": {"matchLabels": {"run": "a"}}, "ingress": [{"ports": [{"port": 2}]}]}
    )
    text = ruleset([one, two], WORLD)
    assert chain(text, "ingress") == [
        "ip daddr vmap { 10.0.0.1 : jump ingress-0-1, 10.0.0.2 : jump ingress-0 }"
    ]
    assert chain(text, "ingress-0-1") == [
        "meta l4proto tcp th dport 1 return",
        "meta l4proto tcp th dport 2 return",
        "drop",
    ]


def test_only_running_pods_outside_the_host_network_are_selected() -> None:
    def pod(phase: str, address: str, **spec: Any) -> dict[str, Any]:
        status = {"phase": phase, "podIPs": [{"ip": address}, {"ip": "fd00::1"}]}
        return {"metadata": {"namespace": "x"}, "spec": spec, "status": status}

    pods = [
        pod("Running", "10.0.0.1"),
        pod("Succeeded", "10.0.0.2"),
        pod("Running", "10.0.0.3", hostNetwork=True),
    ]
    assert [one.addresses for one in read_world(pods, []).pods] == [("10.0.0.1",)]


@pytest.mark.timeout(900)  # The package may have to be installed.
def test_nftables_accepts_the_rules() -> None:
    install_packages({"nft": DEBIAN["nft"]})
    spec = {
        "policyTypes": ["Ingress", "Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}],
        "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80, "endPort": 90}]}],
    }
    done = subprocess.run(
        ["unshare", "--net", "nft", "-f", "-"],
        input=ruleset([policy(spec)], WORLD) * 2,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def test_the_objects_of_all_namespaces_are_watched_again_after_every_error() -> None:
    class Kube(FakeKube):
        errors = 1

        def admit(self, verb: str, resource: Resource, name: str) -> None:
            if self.errors:
                self.errors -= 1
                raise ApiUnavailableError("away")

    kube, changed = Kube(), asyncio.Event()
    kube.add(PODS, "b", {"metadata": {"name": "one"}})
    watched = Watched(kube, PODS, changed)
    following = asyncio.create_task(watched.follow(pauses=(0.0,)))

    async def until(*names: str) -> None:
        while [o["metadata"]["name"] for o in watched.objects()] != list(names):
            changed.clear()
            await changed.wait()

    async with asyncio.timeout(10):
        await watched.is_listed.wait()
        await until("one")
        kube.add(PODS, "a", {"metadata": {"name": "other"}})
        await until("other", "one")
        kube.forget_history()
        kube.remove(PODS, "b", "one")
        await until("other")
    following.cancel()
