"""Who the chart lets in, and who reaches its pods: nobody who is not named."""

import json
from collections.abc import Iterator

import pytest

from dev.policies.select import Pod, World, matches, peer_ranges
from mcp_server.access.auth import Caller
from mcp_server.settings import load_settings
from tests.unit.chart import helm

SYSTEM, RUNS = "agentrun-system", "agents"
CLIENT = Caller(f"system:serviceaccount:{RUNS}:agentrun-client")
FOREIGN = Caller(
    "system:serviceaccount:sec-a:nobody",
    ("system:serviceaccounts", "system:serviceaccounts:sec-a", "system:authenticated"),
)
RUN = {
    "app.kubernetes.io/name": "agentrun",
    "app.kubernetes.io/component": "run",
    "agentrun.dev/run": "run-1",
}


def admits(caller: Caller, *arguments: str) -> bool:
    spec = helm.pod_specs(helm.render(*arguments))["agentrun-mcp"]
    return load_settings(helm.environment(spec)).access.admits(caller)


def test_by_default_only_the_clients_of_the_run_namespaces_are_admitted() -> None:
    assert admits(CLIENT)
    for other in (
        FOREIGN,
        Caller(f"system:serviceaccount:{RUNS}:default"),
        Caller(f"system:serviceaccount:{SYSTEM}:agentrun-client"),
        Caller(f"system:serviceaccount:{SYSTEM}:agentrun-operator"),
        Caller("agentrun-client"),
        Caller("kubernetes-admin", ("system:masters", "system:authenticated")),
    ):
        assert not admits(other), other


def test_users_and_configured_subjects_are_admitted() -> None:
    developers = (
        '[{"kind": "Group", "name": "developers", "apiGroup": "rbac.authorization.k8s.io"}]'
    )
    everyone = '[{"kind": "Group", "name": "system:authenticated"}]'
    of_sec_a = '[{"kind": "ServiceAccount", "name": "nobody", "namespace": "sec-a"}]'
    jane = Caller("jane", ("developers",))
    assert not admits(jane)
    assert admits(jane, "--set-json", f"users.subjects={developers}")
    for subjects in (everyone, of_sec_a):
        assert admits(FOREIGN, "--set-json", f"mcpServer.access.subjects={subjects}")


def test_without_client_accounts_and_subjects_nobody_is_admitted() -> None:
    assert not admits(CLIENT, "--set", "clientServiceAccount=false")


@pytest.mark.parametrize("value", ["users.subjects", "mcpServer.access.subjects"])
@pytest.mark.parametrize(
    ("subject", "complaint"),
    [
        pytest.param({"kind": "Robot", "name": "x"}, "kind", id="no-such-kind"),
        pytest.param({"kind": "User", "name": ""}, "name", id="no-name"),
        pytest.param({"kind": "User", "name": "x", "namespce": "y"}, "namespce", id="misspelt"),
        pytest.param({"kind": "ServiceAccount", "name": "ci"}, "ci in users", id="no-namespace"),
    ],
)
def test_an_invalid_subject_is_refused_by_name(
    value: str, subject: dict[str, str], complaint: str
) -> None:
    done = helm.template("--set-json", f"{value}={json.dumps([subject])}")
    assert done.returncode != 0
    assert complaint in done.stderr


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("mcpServer.service.type=LoadBalancer", "mcpServer.service.type is LoadBalancer"),
        ("mcpServer.publicURL=https://runs.test", "mcpServer.publicURL is set"),
    ],
)
def test_an_ingress_that_the_policies_would_block_is_refused_with_the_next_step(
    setting: str, told: str
) -> None:
    done = helm.template("--set", setting)
    assert done.returncode != 0
    assert told in done.stderr
    assert "networkPolicy.ownPods.clients" in done.stderr
    for more in (
        "networkPolicy.ownPods.enabled=false",
        "networkPolicy.ownPods.clients[0].ipBlock.cidr=203.0.113.0/24",
    ):
        assert helm.template("--set", setting, "--set", more).returncode == 0


# Who reaches whom, as the policies say.

PODS = {
    "mcp": Pod(SYSTEM, {}, ("10.0.0.1",)),
    "operator": Pod(SYSTEM, {}, ("10.0.0.2",)),
    "test": Pod(SYSTEM, {}, ("10.0.0.3",)),
    "profiles": Pod(SYSTEM, {}, ("10.0.0.4",)),
    "beside-the-release": Pod(SYSTEM, {}, ("10.0.0.5",)),
    "client": Pod(RUNS, {"app": "client"}, ("10.0.1.1",)),
    "run": Pod(RUNS, RUN, ("10.0.1.2",)),
    "foreign": Pod("sec-a", {}, ("10.0.2.1",)),
    "foreign-like-a-run": Pod("sec-a", RUN, ("10.0.2.2",)),
    "foreign-like-ours": Pod(
        "sec-a", {"app.kubernetes.io/name": "agentrun", "app.kubernetes.io/component": "test"},
        ("10.0.2.3",),
    ),
    "ingress": Pod("ingress-nginx", {}, ("10.0.3.1",)),
}  # fmt: skip
PORTS = ("mcp:8080", "mcp:8081", "mcp:9999", "operator:8080", "profiles:8080", "test:8080")


def labelled(objects: list[helm.Object]) -> dict[str, Pod]:
    """Give our own pods the labels that the chart gives them."""
    labels = {}
    for one in objects:
        if one["kind"] in ("Deployment", "Job", "Pod"):
            metadata = one if one["kind"] == "Pod" else one["spec"]["template"]
            labels[one["metadata"]["name"].removeprefix("agentrun-")] = metadata["metadata"][
                "labels"
            ]
    return {
        name: Pod(pod.namespace, {**pod.labels, **labels.get(name, {})}, pod.addresses)
        for name, pod in PODS.items()
    }


def reached(*arguments: str) -> dict[str, set[str]]:
    """Say for each pod which of PORTS it reaches, by the chart's NetworkPolicies."""
    objects = helm.render(*arguments)
    pods = labelled(objects)
    names = {pod.namespace for pod in pods.values()}
    world = World(
        tuple(pods.values()), {one: {"kubernetes.io/metadata.name": one} for one in names}
    )
    policies = [one for one in objects if one["kind"] == "NetworkPolicy"]

    def is_open(source: Pod, target: Pod, port: int) -> bool:
        about = [
            one
            for one in policies
            if one["metadata"]["namespace"] == target.namespace
            and "Ingress" in one["spec"]["policyTypes"]
            and matches(one["spec"]["podSelector"], target.labels)
        ]
        rules = [rule for one in about for rule in one["spec"].get("ingress") or []]
        return not about or any(
            source.addresses[0] in addresses(rule, target.namespace)
            and port in [one["port"] for one in rule["ports"]]
            for rule in rules
        )

    def addresses(rule: helm.Object, namespace: str) -> Iterator[str]:
        for peer in rule["from"]:
            yield from peer_ranges(world, namespace, peer)

    return {
        name: {
            port
            for port in PORTS
            if is_open(pod, pods[port.partition(":")[0]], int(port.partition(":")[2]))
        }
        for name, pod in pods.items()
    }


def test_each_port_is_reached_only_by_the_pods_that_need_it() -> None:
    assert reached() == {
        "mcp": {"mcp:8080"},
        "operator": {"mcp:8080"},
        "test": {"mcp:8080", "operator:8080"},
        "profiles": {"mcp:8080"},
        "beside-the-release": {"mcp:8080"},
        "client": {"mcp:8080"},
        "run": {"mcp:8081"},
        "foreign": set(),
        "foreign-like-a-run": set(),
        "foreign-like-ours": set(),
        "ingress": set(),
    }


def test_an_ingress_controller_reaches_the_mcp_server_when_it_is_named() -> None:
    selector = '{"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}'
    clients = f'networkPolicy.ownPods.clients=[{{"namespaceSelector": {selector}}}]'
    open_to = reached("--set-json", clients)
    assert open_to["ingress"] == {"mcp:8080"}
    assert open_to["foreign"] == set()


def test_runs_in_the_releases_own_namespace_do_not_reach_the_mcp_server() -> None:
    objects = helm.render("--set", f"runNamespaces={{{SYSTEM}}}")
    policy = helm.find(objects, "NetworkPolicy", "agentrun-mcp")["spec"]
    world = World(
        (Pod(SYSTEM, RUN, ("10.0.0.9",)),), {SYSTEM: {"kubernetes.io/metadata.name": SYSTEM}}
    )
    open_ports = {
        port["port"]
        for rule in policy["ingress"]
        if any(peer_ranges(world, SYSTEM, peer) for peer in rule["from"])
        for port in rule["ports"]
    }
    assert open_ports == {8081}


def test_network_policies_can_be_disabled() -> None:
    kinds = [
        one["metadata"]["name"]
        for one in helm.render("--set", "networkPolicy.ownPods.enabled=false")
        if one["kind"] == "NetworkPolicy"
    ]
    assert kinds == ["agentrun-runs"]
