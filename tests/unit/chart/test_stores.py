"""Where the MCP server keeps things: what is refused, what is made, what stays secret."""

from typing import Any

import pytest

from mcp_server.settings import load_settings
from tests.unit.chart import helm

REPLICAS = ("--values", str(helm.VALUES / "replicas.yaml"))
POSTGRES = ("--set", "mcpServer.store.url=postgresql://agentrun@db/agentrun")
URL_SECRET = ("--set", "mcpServer.store.urlSecret.name=database")
BUCKET = ("--set", "mcpServer.blobs.url=s3://agentrun")
THREE = ("--set", "mcpServer.replicas=3")


def deployment(*arguments: str) -> dict[str, Any]:
    return helm.find(helm.render(*arguments), "Deployment", "agentrun-mcp")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(THREE, "SQLite supports one writer", id="replicas-on-sqlite"),
        pytest.param(
            (*THREE, *BUCKET), "SQLite supports one writer", id="replicas-on-sqlite-and-s3"
        ),
        pytest.param((*THREE, *POSTGRES), "a folder of blobs", id="replicas-on-a-folder"),
        pytest.param(
            ("--set", "mcpServer.store.url=postgresql://agentrun:geheim@db/agentrun"),
            "contains a password",
            id="password-in-the-url",
        ),
        pytest.param(
            ("--set", "mcpServer.store.url=postgresql://db/agentrun?password=geheim"),
            "contains a password",
            id="password-in-the-query",
        ),
    ],
)
def test_values_that_cannot_work_or_reveal_a_password_are_refused(
    arguments: tuple[str, ...], complaint: str
) -> None:
    done = helm.template(*arguments)
    assert done.returncode != 0
    assert complaint in done.stderr
    assert "mcpServer." in done.stderr
    assert "geheim" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "strategy", "claims"),
    [
        pytest.param((), "Recreate", 1, id="sqlite-and-folder"),
        pytest.param(POSTGRES, "Recreate", 1, id="postgres-and-folder"),
        pytest.param(BUCKET, "Recreate", 1, id="sqlite-and-s3"),
        pytest.param((*POSTGRES, *BUCKET), "RollingUpdate", 0, id="postgres-and-s3"),
        pytest.param((*URL_SECRET, *BUCKET), "RollingUpdate", 0, id="postgres-by-secret-and-s3"),
    ],
)
def test_a_volume_is_created_only_if_a_store_uses_it(
    arguments: tuple[str, ...], strategy: str, claims: int
) -> None:
    objects = helm.render(*arguments)
    assert len([one for one in objects if one["kind"] == "PersistentVolumeClaim"]) == claims
    spec = helm.find(objects, "Deployment", "agentrun-mcp")["spec"]
    assert spec["strategy"]["type"] == strategy
    volumes = [one["name"] for one in spec["template"]["spec"]["volumes"]]
    assert ("data" in volumes) == bool(claims)


def test_several_replicas_are_spread_and_have_a_disruption_budget() -> None:
    objects = helm.render(*REPLICAS)
    spec = helm.find(objects, "Deployment", "agentrun-mcp")["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = spec["template"]["spec"]
    assert {one["topologyKey"] for one in pod["topologySpreadConstraints"]} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    budget = helm.find(objects, "PodDisruptionBudget", "agentrun-mcp")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == spec["selector"]
    assert load_settings(helm.environment(pod)).drain_seconds > 0


def test_a_single_mcp_server_has_no_disruption_budget_and_stops_at_once() -> None:
    objects = helm.render()
    assert "PodDisruptionBudget" not in {one["kind"] for one in objects}
    spec = helm.pod_specs(objects)["agentrun-mcp"]
    assert "topologySpreadConstraints" not in spec
    assert load_settings(helm.environment(spec)).drain_seconds == 0


def test_credentials_come_from_secrets() -> None:
    spec = helm.pod_specs(helm.render(*REPLICAS, *URL_SECRET))["agentrun-mcp"]
    container = spec["containers"][0]
    secrets = {
        one["name"]: one["valueFrom"]["secretKeyRef"]
        for one in container["env"]
        if "valueFrom" in one
    }
    assert secrets == {
        "AGENTRUN_STORE_URL": {"name": "database", "key": "url"},
        "PGPASSWORD": {"name": "agentrun-database", "key": "password"},
    }
    assert container["envFrom"] == [{"secretRef": {"name": "agentrun-bucket"}}]


def test_a_private_ca_is_required_for_the_database() -> None:
    spec = helm.pod_specs(helm.render(*REPLICAS))["agentrun-mcp"]
    environment = helm.environment(spec)
    assert environment["PGSSLMODE"] == "verify-full"
    mounts = {one["name"]: one["mountPath"] for one in spec["containers"][0]["volumeMounts"]}
    assert environment["PGSSLROOTCERT"] == f"{mounts['database-ca']}/ca.crt"
    (volume,) = (one for one in spec["volumes"] if one["name"] == "database-ca")
    assert volume["secret"]["secretName"] == "agentrun-database-ca"


def test_the_bucket_is_the_one_in_the_values() -> None:
    environment = helm.environment(helm.pod_specs(helm.render(*REPLICAS))["agentrun-mcp"])
    assert environment["AWS_ENDPOINT_URL"] == "http://s3.internal:9000"
    assert environment["AWS_REGION"] == "eu-west-1"


def test_the_service_account_may_grant_access_to_the_bucket() -> None:
    account = helm.find(helm.render(*REPLICAS), "ServiceAccount", "agentrun-mcp")
    assert "eks.amazonaws.com/role-arn" in account["metadata"]["annotations"]
