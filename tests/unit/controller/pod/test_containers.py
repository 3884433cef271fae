"""The containers of a run's pod: their resources, and what they are told of the network."""

from dataclasses import replace
from typing import Any

import pytest

from agentrun.api.quantities import parse
from agentrun.api.v1alpha1 import Resources
from agentrun.controller.pod.manifest import build_pod
from agentrun.controller.settings import PodDefaults
from tests.unit.controller.samples import TIMEOUTS, a_profile, a_run

GATEWAY = PodDefaults(gateway_url="http://agentrun-mcp.system:8081", runner_image="runner")


def environments(**network: object) -> list[dict[str, str]]:
    pod = build_pod(a_run(attempts=1), a_profile(network=network), GATEWAY, TIMEOUTS)
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


def test_without_a_setting_in_the_profile_nothing_is_reported() -> None:
    for env in environments():
        assert not [name for name in env if "PROXY" in name or "SSL" in name or "CERT" in name]


@pytest.mark.parametrize(
    ("resources", "requests", "limits"),
    [
        pytest.param(
            {}, {"cpu": "100m", "memory": "256Mi"}, {"memory": "4Gi"}, id="nothing-is-said"
        ),
        pytest.param(
            {"limits": {"memory": "128Mi"}},
            {"cpu": "100m"},
            {"memory": "128Mi"},
            id="a-limit-below-the-default-request",
        ),
        pytest.param(
            {"requests": {"memory": "64Gi"}},
            {"cpu": "100m", "memory": "64Gi"},
            {},
            id="a-request-above-the-default-limit",
        ),
    ],
)
def test_default_resources_do_not_contradict_the_profiles(
    resources: dict[str, Any], requests: dict[str, str], limits: dict[str, str]
) -> None:
    pod = build_pod(a_run(attempts=1), a_profile(resources=resources), GATEWAY, TIMEOUTS)
    found = pod["spec"]["containers"][0]["resources"]
    disk = "ephemeral-storage"
    assert {key: value for key, value in found["requests"].items() if key != disk} == requests
    assert {key: value for key, value in found["limits"].items() if key != disk} == limits


@pytest.mark.parametrize(
    ("given", "requests", "limits"),
    [
        pytest.param({}, {"cpu": "50m", "memory": "96Mi"}, {"memory": "192Mi"}, id="nothing"),
        pytest.param(
            {"limits": {"cpu": "500m"}},
            {"cpu": "50m", "memory": "96Mi"},
            {"cpu": "500m", "memory": "192Mi"},
            id="a-quota-on-limits",
        ),
        pytest.param(
            {"requests": {"memory": "0.25Gi"}},
            {"cpu": "50m", "memory": "0.25Gi"},
            {"memory": "0.25Gi"},
            id="a-request-above-the-default-limit",
        ),
        pytest.param(
            {"limits": {"cpu": "0.02", "memory": "64Mi"}},
            {"cpu": "0.02", "memory": "64Mi"},
            {"cpu": "0.02", "memory": "64Mi"},
            id="limits-below-the-default-requests",
        ),
    ],
)
def test_the_runners_resources_are_merged_over_the_defaults(
    given: dict[str, Any], requests: dict[str, str], limits: dict[str, str]
) -> None:
    settings = replace(GATEWAY, runner_resources=Resources.model_validate(given))
    pod = build_pod(a_run(attempts=1), a_profile(), settings, TIMEOUTS)
    found = pod["spec"]["containers"][1]["resources"]
    disk = "ephemeral-storage"
    assert {key: value for key, value in found["requests"].items() if key != disk} == requests
    assert {key: value for key, value in found["limits"].items() if key != disk} == limits


@pytest.mark.parametrize(("largest", "spool"), [("512Mi", "2048Mi"), ("8Gi", "9728Mi")])
def test_the_runners_volume_has_room_for_the_largest_snapshot(largest: str, spool: str) -> None:
    profile = a_profile(sessions={"maxSnapshotSize": largest})
    pod = build_pod(a_run(attempts=1), profile, GATEWAY, TIMEOUTS)
    volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
    assert volumes["spool"] == {"name": "spool", "emptyDir": {"sizeLimit": spool}}
    [runner] = [one for one in pod["spec"]["containers"] if one["name"] == "runner"]
    disk = runner["resources"]["limits"]["ephemeral-storage"]
    assert parse(disk) >= parse(spool) + parse("2Gi")
