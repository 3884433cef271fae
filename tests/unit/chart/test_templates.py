"""
What the chart renders.

The golden files are what `helm template` makes of the value sets in `values/`. After a wanted
change, `AGENTRUN_UPDATE_GOLDEN=1 pytest tests/unit/chart` writes them anew; read the difference
before committing it.
"""

import json
import os
from pathlib import Path

import pytest

from tests.unit.chart import helm

SETS = sorted(path.stem for path in helm.VALUES.glob("*.yaml"))


def compare(golden: Path, rendered: str) -> None:
    if os.environ.get("AGENTRUN_UPDATE_GOLDEN"):
        golden.write_text(rendered)
    assert rendered.splitlines() == golden.read_text().splitlines(), (
        "the chart renders something else than before: if that is wanted, run"
        " AGENTRUN_UPDATE_GOLDEN=1 pytest tests/unit/chart and read the difference"
    )


@pytest.mark.parametrize("values", SETS)
def test_chart_matches_its_golden_files(values: str) -> None:
    done = helm.template("--values", helm.VALUES / f"{values}.yaml")
    assert done.returncode == 0, done.stderr
    compare(helm.GOLDEN / f"{values}.yaml", done.stdout)


def test_every_golden_file_belongs_to_a_set_of_values() -> None:
    assert sorted(path.stem for path in helm.GOLDEN.glob("*.yaml")) == SETS


def test_users_may_not_forward_ports_in_run_namespaces() -> None:
    here = "runNamespaces={agentrun-system,others}"
    who = "users.subjects[0].kind=Group,users.subjects[0].name=developers"
    done = helm.template("--set", here, "--set", who)
    assert done.returncode != 0
    assert "users.subjects have permission to forward ports" in done.stderr
    done = helm.template("--set", here)
    assert done.returncode == 0, done.stderr
    assert "portforward" not in done.stdout
    assert "portforward" in helm.template("--set", who).stdout


def test_lint_finds_nothing() -> None:
    done = helm.run("helm", "lint", "--strict", "--kube-version", helm.KUBERNETES, helm.CHART)
    assert done.returncode == 0, done.stdout + done.stderr


def test_values_of_the_development_cluster_render() -> None:
    objects = helm.render("--values", helm.ROOT / "dev" / "values.yaml")
    assert set(helm.profiles(objects)) == {"codex", "claude-code"}


@pytest.mark.parametrize("values", SETS)
def test_pods_keep_to_the_restricted_standard(values: str) -> None:
    specs = helm.pod_specs(helm.render("--values", helm.VALUES / f"{values}.yaml"))
    assert set(specs) == {
        "agentrun-operator",
        "agentrun-mcp",
        "agentrun-profiles",
        "agentrun-test",
    }
    for spec in specs.values():
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            restricted = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert restricted.items() <= container["securityContext"].items()
            assert container["resources"]["requests"]


def test_only_token_reviews_and_watching_namespaces_are_granted_cluster_wide() -> None:
    objects = helm.render()
    granted = [one["rules"] for one in objects if one["kind"] == "ClusterRole"]
    assert granted == [
        [
            {
                "apiGroups": ["authentication.k8s.io"],
                "resources": ["tokenreviews"],
                "verbs": ["create"],
            },
            {
                "apiGroups": [""],
                "resources": ["namespaces"],
                "resourceNames": ["agents"],
                "verbs": ["get"],
            },
        ]
    ]


def test_no_role_writes_anything_or_reads_secrets() -> None:
    for one in helm.render():
        for rule in one.get("rules") or []:
            words = {*rule["verbs"], *rule["resources"], *rule["apiGroups"]}
            assert not words & {"*", "escalate", "bind", "impersonate"}
            # The MCP server makes Secrets, and sees none (docs/decisions/0010).
            if "secrets" in rule["resources"]:
                assert (rule["resources"], rule["verbs"]) == (["secrets"], ["create"])


def test_resources_of_users_are_kept_on_uninstall() -> None:
    kept = {
        (one["kind"], one["metadata"]["name"])
        for one in helm.render()
        if one["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    assert kept == {
        ("CustomResourceDefinition", "agentruns.agentrun.dev"),
        ("CustomResourceDefinition", "agentsessions.agentrun.dev"),
        ("CustomResourceDefinition", "agentprofiles.agentrun.dev"),
        ("Namespace", "agents"),
        ("PersistentVolumeClaim", "agentrun-mcp"),
        ("NetworkPolicy", "agentrun-runs"),
    }


def test_run_namespaces_enforce_the_restricted_standard() -> None:
    namespace = helm.find(helm.render(), "Namespace", "agents")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_release_of_another_name_and_namespace_shares_no_cluster_wide_name() -> None:
    def names(*arguments: str) -> set[tuple[str, str]]:
        return {
            (one["kind"], one["metadata"]["name"])
            for one in helm.render("--set", "crds.enabled=false", *arguments)
            if "namespace" not in one["metadata"]
        }

    other = names("--namespace", "other", "--set", "runNamespaces={others}")
    assert names() & other == set()


def test_another_chart_version_alone_changes_no_pod() -> None:
    for one in helm.render():
        if one["kind"] == "Deployment":
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert labels == one["spec"]["selector"]["matchLabels"]


def test_pods_are_scheduled_as_configured_and_keep_their_selector_labels() -> None:
    objects = helm.render("--values", helm.VALUES / "everything.yaml")
    operator = helm.find(objects, "Deployment", "agentrun-operator")["spec"]
    metadata, spec = operator["template"]["metadata"], operator["template"]["spec"]
    assert metadata["annotations"] == {"example.test/scrape": "yes"}
    assert metadata["labels"] == operator["selector"]["matchLabels"] | {"team": "platform"}
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert spec["priorityClassName"] == "system-cluster-critical"
    assert spec["affinity"] == {"nodeAffinity": {}}
    for name, pod in helm.pod_specs(objects).items():
        assert pod["tolerations"] == [{"key": "system", "operator": "Exists"}], name


@pytest.mark.parametrize("values", SETS)
def test_variables_of_services_do_not_reach_a_pod(values: str) -> None:
    for name, spec in helm.pod_specs(
        helm.render("--values", helm.VALUES / f"{values}.yaml")
    ).items():
        assert spec["enableServiceLinks"] is False, name


def test_annotations_and_labels_of_the_values_are_on_every_pod() -> None:
    metadata = {
        one["metadata"]["name"]: (
            one["metadata"] if one["kind"] == "Pod" else one["spec"]["template"]["metadata"]
        )
        for one in helm.render("--values", helm.VALUES / "everything.yaml")
        if one["kind"] in ("Pod", "Deployment", "Job")
    }
    assert len(metadata) == 4
    for name, found in metadata.items():
        assert found["labels"]["team"] == "platform", name
        assert found["labels"]["app.kubernetes.io/name"] == "agentrun", name
        if name == "agentrun-operator":
            continue
        assert found["annotations"]["sidecar.istio.io/inject"] == "false", name
        assert found["labels"]["app.kubernetes.io/component"] == name.removeprefix("agentrun-")
    assert metadata["agentrun-test"]["annotations"]["helm.sh/hook"] == "test"


def test_resources_of_every_container_can_be_set() -> None:
    objects = helm.render("--values", helm.VALUES / "everything.yaml")
    hook = {
        "requests": {"cpu": "0.05", "memory": "32Mi"},
        "limits": {"cpu": "1", "memory": "134217728"},
    }
    own = {"requests": {"cpu": "100m", "memory": "128Mi"}}
    wanted = {
        "agentrun-operator": own | {"limits": {"memory": "512Mi"}},
        "agentrun-mcp": own | {"limits": {"memory": "1Gi"}},
        "agentrun-profiles": hook,
        "agentrun-test": hook,
    }
    specs = helm.pod_specs(objects)
    assert {name: one["containers"][0]["resources"] for name, one in specs.items()} == wanted
    runner = json.loads(helm.environment(specs["agentrun-operator"])["AGENTRUN_RUNNER_RESOURCES"])
    assert runner == {"limits": {"cpu": "500m", "memory": "1Gi"}}


def test_a_security_context_without_ids_leaves_the_user_to_the_platform() -> None:
    specs = helm.pod_specs(helm.render("--values", helm.VALUES / "everything.yaml"))
    assert specs["agentrun-operator"]["securityContext"] == {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    (container,) = specs["agentrun-operator"]["containers"]
    assert container["securityContext"]["seLinuxOptions"] == {"level": "s0:c123"}


def test_the_clusters_own_roles_include_the_kinds_only_if_asked_to() -> None:
    def rules(role: str) -> dict[str, set[str]]:
        """Return the verbs by resource of all ClusterRoles that are aggregated to ``role``."""
        found: dict[str, set[str]] = {}
        for one in helm.render("--values", helm.VALUES / "everything.yaml"):
            label = f"rbac.authorization.k8s.io/aggregate-to-{role}"
            if one["kind"] == "ClusterRole" and one["metadata"]["labels"].get(label) == "true":
                for rule in one["rules"]:
                    for resource in rule["resources"]:
                        found.setdefault(resource, set()).update(rule["verbs"])
        return found

    read, write = {"get", "list", "watch"}, {"create", "update", "patch", "delete"}
    kinds = {"agentruns", "agentsessions", "agentprofiles"}
    assert rules("view") == dict.fromkeys(kinds, read)
    assert write < rules("edit")["agentruns"]
    assert rules("edit")["agentprofiles"] == read
    assert all(write < verbs for verbs in rules("admin").values())
    assert "aggregate-to" not in helm.template().stdout


def test_run_pods_reach_the_dns_servers_of_the_values() -> None:
    objects = helm.render("--values", helm.VALUES / "everything.yaml")
    dns = helm.find(objects, "NetworkPolicy", "agentrun-runs", "team-a")["spec"]["egress"][0]
    (server,) = dns["to"]
    names = server["namespaceSelector"]["matchLabels"]
    assert names == {"kubernetes.io/metadata.name": "openshift-dns"}
    assert {(one["protocol"], one["port"]) for one in dns["ports"]} == {
        ("UDP", 5353),
        ("TCP", 5353),
    }
