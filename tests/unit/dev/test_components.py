import json

from dev import addons, components, dns, network

CLUSTER = components.Cluster("test", network.network_of("test"))


def test_a_component_is_found_with_or_without_kube() -> None:
    found = components.component("kube-apiserver")
    assert found is not None
    assert components.component("apiserver") is found
    assert components.component("etcd") is not None
    assert components.component("nothing") is None


def test_no_file_of_a_cluster_is_in_the_folder_of_another() -> None:
    other = components.Cluster("other", network.network_of("other"))
    for component in components.COMPONENTS:
        command = " ".join(map(str, component.command(CLUSTER)))
        assert str(other.folder) not in command
    for content in components.configurations(CLUSTER).values():
        assert other.network.node not in content


def test_the_kubelets_limits() -> None:
    kubelet = json.loads(components.configurations(CLUSTER)["kubelet.json"])
    assert kubelet["maxPods"] == 250
    assert kubelet["podPidsLimit"] == 1024
    assert kubelet["failCgroupV1"] is False


def test_pods_use_the_dns_service() -> None:
    service = next(o for o in dns.objects(CLUSTER) if o["kind"] == "Service")
    kubelet = json.loads(components.configurations(CLUSTER)["kubelet.json"])
    assert kubelet["clusterDNS"] == [service["spec"]["clusterIP"]]


def test_a_volume_stays_on_its_node() -> None:
    spec = addons.volume(CLUSTER, 3)["spec"]
    assert spec["local"]["path"] == str(CLUSTER.volume(3))
    term = spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    assert term["values"] == [CLUSTER.node]
