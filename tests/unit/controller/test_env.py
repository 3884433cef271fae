"""What the containers are told of the network."""

import pytest

from agentrun.controller.pod import build_pod
from agentrun.controller.settings import PodSettings
from tests.unit.controller.samples import a_profile, a_run

GATEWAY = PodSettings(gateway_url="http://agentrun-mcp.system:8081", runner_image="runner")


def environments(**network: object) -> list[dict[str, str]]:
    pod = build_pod(a_run(attempts=1), a_profile(network=network), GATEWAY)
    return [
        {one["name"]: one.get("value", "from a Secret") for one in container["env"]}
        for container in pod["spec"]["containers"]
    ]


def test_the_pods_own_addresses_never_go_through_the_proxy() -> None:
    for env in environments(proxy={"https": "http://proxy:3128", "noProxy": [".example.com"]}):
        assert env["HTTPS_PROXY"] == env["https_proxy"] == "http://proxy:3128"
        assert "HTTP_PROXY" not in env
        direct = {"127.0.0.1", "localhost", ".svc", "agentrun-mcp.system", ".example.com"}
        assert direct <= set(env["NO_PROXY"].split(","))
        assert env["no_proxy"] == env["NO_PROXY"]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"])
def test_a_proxy_with_a_password_is_named_by_its_secret(name: str) -> None:
    for env in environments(proxy={"urlSecret": {"name": "proxy", "key": "url"}}):
        assert env[name] == "from a Secret"


def test_without_a_word_of_the_profile_nothing_is_said() -> None:
    for env in environments():
        assert not [name for name in env if "PROXY" in name or "SSL" in name or "CERT" in name]
