"""The Services: clients may come from outside of the cluster, runners do not."""

import pytest

from tests.unit.chart import helm

EVERYTHING = ("--values", helm.VALUES / "everything.yaml")
OPEN = ("--set", "networkPolicy.ownPods.enabled=false")


def services(objects: list[helm.Object]) -> dict[str, helm.Object]:
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == "Service"}


def ports(service: helm.Object) -> set[int]:
    return {one["port"] for one in service["spec"]["ports"]}


def test_the_service_that_runners_know_is_the_same_whatever_clients_use() -> None:
    before = services(helm.render())["agentrun-mcp"]
    assert (before["spec"]["type"], ports(before)) == ("ClusterIP", {8080, 8081})
    for kind in ("NodePort", "LoadBalancer"):
        after = helm.render(*OPEN, "--set", f"mcpServer.service.type={kind}")
        assert services(after)["agentrun-mcp"] == before
        operator = helm.pod_specs(after)["agentrun-operator"]
        url = helm.environment(operator)["AGENTRUN_GATEWAY_URL"]
        assert url == "http://agentrun-mcp.agentrun-system.svc:8081"


def test_only_the_port_for_clients_is_published() -> None:
    found = services(helm.render(*EVERYTHING))
    published = {name for name, one in found.items() if one["spec"].get("type") == "LoadBalancer"}
    assert published == {"agentrun-mcp-external"}
    service = found["agentrun-mcp-external"]
    assert ports(service) == {8080}
    assert service["spec"]["selector"] == found["agentrun-mcp"]["spec"]["selector"]
    assert service["metadata"]["annotations"] == {"example.test/internal": "true"}
    assert service["spec"]["loadBalancerClass"] == "example.test/inner"
    assert service["spec"]["loadBalancerSourceRanges"] == ["203.0.113.0/24", "2001:db8::/32"]
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    assert service["spec"]["ports"][0]["nodePort"] == 30080


def test_the_command_line_finds_one_service() -> None:
    found = [
        name
        for name, one in services(helm.render(*EVERYTHING)).items()
        if one["metadata"]["labels"]["app.kubernetes.io/component"] == "mcp"
    ]
    assert found == ["agentrun-mcp"]


def test_annotations_of_an_internal_service_leave_the_charts_own() -> None:
    own = "agentrun.dev/run-namespaces"
    done = helm.render(
        "--set-json", f'mcpServer.service.annotations={{"a": "b", "{own}": "elsewhere"}}'
    )
    assert services(done)["agentrun-mcp"]["metadata"]["annotations"] == {"a": "b", own: "agents"}


def test_every_service_has_the_ip_families_of_the_values() -> None:
    for name, one in services(helm.render(*EVERYTHING)).items():
        assert one["spec"]["ipFamilyPolicy"] == "RequireDualStack", name
        assert one["spec"]["ipFamilies"] == ["IPv6", "IPv4"], name
    for name, one in services(helm.render()).items():
        assert not {"ipFamilyPolicy", "ipFamilies"} & set(one["spec"]), name


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        pytest.param("loadBalancerClass=x", "loadBalancerClass is set", id="class"),
        pytest.param("loadBalancerSourceRanges={10.0.0.0/8}", "SourceRanges is set", id="ranges"),
        pytest.param("externalTrafficPolicy=Local", "externalTrafficPolicy is set", id="policy"),
        pytest.param("nodePort=30080", "nodePort is set", id="port"),
    ],
)
def test_what_does_not_fit_the_type_of_the_service_is_refused(setting: str, complaint: str) -> None:
    done = helm.template("--set", f"mcpServer.service.{setting}")
    assert done.returncode != 0
    assert complaint in done.stderr
