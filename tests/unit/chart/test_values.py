"""The values: nothing misspelt passes, nothing is undocumented, the programs understand them."""

import json
from dataclasses import asdict
from typing import Any

import pytest
import yaml

from agentrun.controller.settings import OperatorTimeouts, settings_from
from mcp_server.http.hosts import is_allowed_host
from mcp_server.settings import Settings, load_settings
from tests.unit.chart import helm

DEFAULTS: dict[str, Any] = yaml.safe_load((helm.CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((helm.CHART / "values.schema.json").read_text())


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        pytest.param("operatr.resyncSeconds=1", "operatr", id="misspelt-part"),
        pytest.param("operator.resyncSecond=1", "resyncSecond", id="misspelt-value"),
        pytest.param("images.agent.tags=1", "tags", id="misspelt-in-an-image"),
        pytest.param("profiles.claude.enabled=true", "claude", id="unknown-profile"),
        pytest.param("profiles.codex.spec.timeoutz.x=1", "timeoutz", id="misspelt-in-a-spec"),
        pytest.param("profiles.codex.spec.pod.runAsUsr=1", "runAsUsr", id="misspelt-below-a-spec"),
        pytest.param("profiles.codex.provider.url=x", "url", id="misspelt-in-a-profile"),
        pytest.param("profiles.codex.provider.baseURL=model", "baseURL", id="no-url"),
        pytest.param("profiles.codex.provider.keySecret.name=", "keySecret", id="no-secret-name"),
        pytest.param("operator.resyncSeconds=often", "resyncSeconds", id="not-a-number"),
        pytest.param("operator.resyncSeconds=0", "resyncSeconds", id="too-small"),
        pytest.param("operator.runPods.labels.team=a b", "team", id="not-a-label"),
        pytest.param("operator.runPods.labels.agentrun\\.dev/run=a", "run", id="own-label"),
        pytest.param("runNamespaces=agents", "runNamespaces", id="not-a-list"),
        pytest.param("runNamespaces={}", "runNamespaces", id="no-namespace"),
        pytest.param("runNamespaces={team.a}", "runNamespaces", id="not-a-namespace"),
        pytest.param("imagePullSecrets={a_b}", "imagePullSecrets", id="not-a-secret"),
        pytest.param("runNamespaces={Agents}", "runNamespaces", id="not-a-name"),
        pytest.param("mcpServer.service.type=Ingress", "type", id="unknown-service-type"),
        pytest.param("mcpServer.persistence.size=much", "size", id="not-a-quantity"),
        pytest.param("profiles.codex.resources.limits.cpu=-1", "cpu", id="negative-quantity"),
        pytest.param("mcpServer.replicas=0", "replicas", id="no-replica"),
        pytest.param("mcpServer.store.url=mysql://x", "url", id="unknown-database"),
        pytest.param("mcpServer.store.secret=x", "secret", id="misspelt-in-the-store"),
        pytest.param("mcpServer.blobs.url=gs://x", "url", id="unknown-blobs"),
        pytest.param("images.runner.pullPolicy=Sometimes", "pullPolicy", id="no-pull-policy"),
    ],
)
def test_wrong_value_is_refused_by_name(setting: str, complaint: str) -> None:
    done = helm.template("--set", setting)
    assert done.returncode != 0
    assert "schema" in done.stderr
    assert complaint in done.stderr


def test_the_names_of_secrets_may_have_dots() -> None:
    done = helm.template(
        "--set", r"imagePullSecrets={ghcr\.io}",
        "--set", r"profiles.codex.provider.keySecret.name=openai\.com",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ghcr.io") > 1


def objects_of(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Find every object in a schema that says which properties it has."""
    found = [schema] if "properties" in schema else []
    for child in schema.values():
        for one in child if isinstance(child, list) else [child]:
            if isinstance(one, dict):
                found += objects_of(one)
    return found


def test_every_object_of_the_schema_forbids_additional_properties() -> None:
    for one in objects_of(SCHEMA):
        assert one["additionalProperties"] is False, one


def keys_of(schema: dict[str, Any]) -> set[str]:
    helms = {"global", "enabled", "tags"} if schema is SCHEMA else set()
    return set(schema["properties"]) - helms


@pytest.mark.parametrize(
    ("part", "schema"),
    [
        pytest.param(DEFAULTS, SCHEMA, id="all"),
        pytest.param(DEFAULTS["operator"], SCHEMA["properties"]["operator"], id="operator"),
        pytest.param(DEFAULTS["mcpServer"], SCHEMA["properties"]["mcpServer"], id="mcpServer"),
        pytest.param(DEFAULTS["images"], SCHEMA["properties"]["images"], id="images"),
        pytest.param(DEFAULTS["profiles"]["codex"], SCHEMA["definitions"]["profile"], id="codex"),
        pytest.param(
            DEFAULTS["profiles"]["claudeCode"], SCHEMA["definitions"]["profile"], id="claudeCode"
        ),
        pytest.param(
            DEFAULTS["networkPolicy"], SCHEMA["properties"]["networkPolicy"], id="networkPolicy"
        ),
        pytest.param(
            DEFAULTS["networkPolicy"]["ownPods"],
            SCHEMA["properties"]["networkPolicy"]["properties"]["ownPods"],
            id="ownPods",
        ),
    ],
)
def test_values_yaml_lists_what_the_schema_knows(
    part: dict[str, Any], schema: dict[str, Any]
) -> None:
    assert set(part) == keys_of(schema)


def test_operator_understands_the_environment_it_gets() -> None:
    spec = helm.pod_specs(helm.render("--values", helm.VALUES / "everything.yaml"))
    settings = settings_from(helm.environment(spec["agentrun-operator"]))
    assert settings.namespaces == ("team-a", "team-b")
    assert settings.resync_seconds == 3
    assert settings.pod.gateway_url == "http://agentrun-mcp.agentrun-system.svc:8081"
    assert settings.pod.runner_image == "example.test/runner:3"
    assert settings.pod.runner_image_pull_policy == "Always"
    assert settings.pod.runner_resources.limits == {"cpu": "500m", "memory": "1Gi"}
    assert settings.pod.labels == {"team": "agents"}
    assert settings.pod.annotations == {"karpenter.sh/do-not-disrupt": "true"}
    found = settings.timeouts
    assert (found.start, found.stuck, found.ttl, found.deadline) == (1, 2, 0, 31_536_000)


def test_defaults_of_the_chart_are_those_of_the_operator() -> None:
    spec = helm.pod_specs(helm.render())
    settings = settings_from(helm.environment(spec["agentrun-operator"]))
    assert asdict(settings.timeouts) == asdict(OperatorTimeouts())


def test_mcp_server_understands_the_environment_it_gets() -> None:
    spec = helm.pod_specs(helm.render("--values", helm.VALUES / "everything.yaml"))
    settings = load_settings(helm.environment(spec["agentrun-mcp"]))
    assert settings.namespaces == ("team-a", "team-b")
    assert settings.store_url == "postgresql://agentrun@store.internal/agentrun"
    assert settings.public_url == "https://agentrun.example.test"
    assert set(settings.allowed_hosts) == {
        "agentrun-mcp.agentrun-system",
        ".svc.corp.example",
        "agentrun.example.test",
        ".example.test",
    }
    assert settings.issuer_url == "https://kubernetes.default.svc.corp.example"


def test_every_dns_name_of_the_service_is_an_allowed_host() -> None:
    spec = helm.pod_specs(helm.render())
    settings = load_settings(helm.environment(spec["agentrun-mcp"]))
    for name in (
        "",
        ".agentrun-system",
        ".agentrun-system.svc",
        ".agentrun-system.svc.cluster.local",
    ):
        assert is_allowed_host(f"agentrun-mcp{name}:8080", settings.allowed_hosts)


def test_mcp_server_keeps_its_data_on_the_volume() -> None:
    spec = helm.pod_specs(helm.render())["agentrun-mcp"]
    settings = load_settings(helm.environment(spec))
    assert (settings.store_url, settings.blobs_url) == (
        Settings.store_url,
        Settings.blobs_url,
    )
    mounts = {one["name"]: one["mountPath"] for one in spec["containers"][0]["volumeMounts"]}
    assert mounts["data"] == "/data"
    assert settings.store_url.endswith("/data/agentrun.db")
