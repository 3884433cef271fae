import pytest

from mcp_server.http.hosts import is_allowed_host


@pytest.mark.parametrize(
    ("host", "allowed", "answered"),
    [
        pytest.param("localhost:8080", (), True, id="localhost"),
        pytest.param("127.0.0.1", (), True, id="ipv4"),
        pytest.param("[::1]:8080", (), True, id="ipv6"),
        pytest.param("agentrun-mcp:8080", (), True, id="service-in-its-namespace"),
        pytest.param("agentrun-mcp.agentrun-system.svc", (), True, id="service"),
        pytest.param("agentrun-mcp.ns.svc.cluster.local.:8080", (), True, id="full-name"),
        pytest.param("AGENTRUN-MCP.NS.SVC", (), True, id="upper-case"),
        pytest.param("evil.test", (), False, id="foreign"),
        pytest.param("evil.test:8080", ("runs.test",), False, id="foreign-with-port"),
        pytest.param("", (), False, id="none"),
        pytest.param("[::1", (), False, id="broken"),
        pytest.param("runs.test:443", ("runs.test",), True, id="named"),
        pytest.param("a.runs.test", (".runs.test",), True, id="below-a-name"),
        pytest.param("evilruns.test", (".runs.test",), False, id="only-looks-below"),
        pytest.param("svc.evil.test", (), False, id="svc-in-front"),
        pytest.param("evil.test", ("*",), True, id="any"),
    ],
)
def test_only_cluster_internal_host_names_are_served(
    host: str, allowed: tuple[str, ...], answered: bool
) -> None:
    assert is_allowed_host(host, allowed) is answered
