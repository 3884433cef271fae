import ipaddress

from dev import network


def test_a_name_always_gives_the_same_network() -> None:
    assert network.network_of("agentrun") == network.network_of("agentrun")


def test_the_names_of_this_project_do_not_collide() -> None:
    found = [network.network_of(name) for name in ("agentrun", "agentrun-test", "agentrun-bench")]
    assert len({n.slot for n in found}) == len({n.host_end for n in found}) == len(found)


def test_a_devices_name_is_short_enough_for_the_kernel() -> None:
    found = network.network_of("a-rather-long-name-of-a-cluster")
    assert max(len(found.host_end), len(found.node_end)) <= 15


def test_the_ranges_of_a_cluster_do_not_overlap() -> None:
    found = network.network_of("agentrun")
    cable = ipaddress.ip_network(f"{found.host}/30", strict=False)
    ranges = [ipaddress.ip_network(found.services), ipaddress.ip_network(found.pods), cable]
    assert not any(a.overlaps(b) for a in ranges for b in ranges if a is not b)
    assert ipaddress.ip_address(found.node) in cable
    assert ipaddress.ip_address(found.api) == ranges[0][1]
    assert ipaddress.ip_address(found.dns) in ranges[0]


def test_routes_are_read_without_the_default() -> None:
    text = (
        "default via 192.0.2.1 dev eth0\n"
        "10.121.0.0/20 via 10.121.255.2 dev x\n"
        "local 10.7.0.1 dev lo table local\n"
    )
    found = [str(route) for route in network.parse_routes(text)]
    assert found == ["10.121.0.0/20", "10.7.0.1/32"]
