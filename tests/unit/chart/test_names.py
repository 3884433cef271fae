"""Names of releases, namespaces and other objects, of every form that Helm and Kubernetes allow."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentrun.cli.connection.discovery import SELECTOR
from tests.unit.chart import helm

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([a-zA-Z0-9]([-._a-zA-Z0-9]*[a-zA-Z0-9])?)?")
LONGEST_RELEASE = 53

RELEASES = [
    "a",
    "agentrun",
    "my-agentrun",
    "2024",
    "1st",
    "0x10",
    "1e3",
    "1.5",
    "v1.10.0",
    "1.agentrun.2",
    "null",
    "true",
    "no",
    "3240286e-210077",
    *("a" * length for length in (30, 31, 32, 39, 40, 41, LONGEST_RELEASE)),
    *("1" * length for length in (29, 30, 31, 32, LONGEST_RELEASE)),
    *("a" * before + "-" * 10 + "b" * 5 for before in range(29, 34)),
    *("a" * before + "-agentrun-" + "b" * 5 for before in range(29, 34)),
    "a.b" * 17,
]
NAMESPACES = ["12345", "1e3", "0x10", "null", "true", "y", "a", "a" * 63, "1" * 63]


def rendered(release: str, *arguments: str | Path, chart: Path = helm.CHART) -> list[helm.Object]:
    done = helm.run(
        "helm", "template", release, chart, "--kube-version", helm.KUBERNETES, *arguments
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.load_all(done.stdout, yaml.CSafeLoader) if one]


def check_names(objects: list[helm.Object]) -> None:
    """Check what the API server checks of names, labels and annotations."""
    for one in objects:
        metadata = one["metadata"]
        name, form = metadata["name"], SUBDOMAIN
        if one["kind"] in ("Service", "Namespace"):
            form = SERVICE if one["kind"] == "Service" else LABEL
        assert form.fullmatch(name), (one["kind"], name)
        assert len(name) <= (253 if form is SUBDOMAIN else 63)
        assert LABEL.fullmatch(metadata.get("namespace", "x"))
        for found in maps_named("labels", one) + maps_named("matchLabels", one):
            for value in found.values():
                assert LABEL_VALUE.fullmatch(value), value
                assert len(value) <= 63
        for found in maps_named("annotations", one):
            assert all(isinstance(value, str) for value in found.values())
    for name, spec in helm.pod_specs(objects).items():
        assert LABEL.fullmatch(name), name
        assert len(name) <= 63
        assert all(isinstance(one["value"], str) for one in variables(spec))


def variables(spec: helm.Object) -> list[dict[str, Any]]:
    return [one for one in spec["containers"][0].get("env", []) if "value" in one]


def maps_named(name: str, node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for one in node for found in maps_named(name, one)]
    if not isinstance(node, dict) or node.get("kind") == "CustomResourceDefinition":
        return []
    found = [node[name]] if isinstance(node.get(name), dict) else []
    return found + [one for child in node.values() for one in maps_named(name, child)]


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_name_gives_names_that_kubernetes_accepts(release: str) -> None:
    check_names(rendered(release, "--namespace", "system", "--set", "crds.enabled=false"))


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_namespace_gives_names_that_kubernetes_accepts(namespace: str) -> None:
    runs = f'runNamespaces=["{namespace}", "2024"]'
    objects = rendered(
        "agentrun", "--namespace", namespace, "--set", "crds.enabled=false", "--set-json", runs
    )
    check_names(objects)
    assert {one["metadata"].get("namespace", namespace) for one in objects} == {namespace, "2024"}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        pytest.param("mcpServer.persistence.existingClaim", "123", id="claim"),
        pytest.param("mcpServer.persistence.storageClass", "0x10", id="storage-class"),
        pytest.param("mcpServer.store.caSecret.name", "1e3", id="secret"),
        pytest.param(
            "mcpServer.store.urlSecret.name=x,mcpServer.store.urlSecret.key", "on", id="key"
        ),
        pytest.param("mcpServer.blobs.credentialsSecret", "true", id="credentials"),
        pytest.param("operator.pod.priorityClassName", "100", id="priority"),
        pytest.param("mcpServer.pod.labels.team", "2024", id="label"),
        pytest.param("images.runner.tag", "1.10", id="tag"),
        pytest.param("profiles.codex.provider.keySecret.name", "10", id="key-of-a-provider"),
    ],
)
def test_a_value_that_yaml_takes_for_a_number_stays_a_string(keys: str, value: str) -> None:
    objects = helm.render("--set-string", f"{keys}={value}")
    check_names(objects)
    assert value in strings(objects)


def strings(node: Any) -> set[str]:
    if isinstance(node, dict | list):
        children = node.values() if isinstance(node, dict) else node
        return {one for child in children for one in strings(child)}
    return set(re.split(r'[:/",]', node)) if isinstance(node, str) else set()


def test_the_storage_class_for_none_is_an_empty_one() -> None:
    def claim(*arguments: str) -> helm.Object:
        objects = helm.render(*arguments)
        spec: helm.Object = helm.find(objects, "PersistentVolumeClaim", "agentrun-mcp")["spec"]
        return spec

    assert claim("--set", "mcpServer.persistence.storageClass=-")["storageClassName"] == ""
    assert "storageClassName" not in claim()


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        pytest.param("mcpServer.persistence.storageClass=- x", "storageClass", id="class"),
        pytest.param("mcpServer.persistence.existingClaim=My_Claim", "existingClaim", id="claim"),
        pytest.param("mcpServer.store.urlSecret.name=a: b", "urlSecret", id="secret"),
        pytest.param("imagePullSecrets[0]=Robot", "imagePullSecrets", id="pull-secret"),
        pytest.param("imagePullSecrets={a,a}", "imagePullSecrets", id="pull-secret-twice"),
        pytest.param("mcpServer.pod.labels.team=a b", "labels", id="label"),
        pytest.param("operator.pod.annotations.a b=c", "annotations", id="annotation"),
    ],
)
def test_what_is_no_name_is_refused(setting: str, complaint: str) -> None:
    done = helm.template("--set", setting)
    assert done.returncode != 0
    assert complaint in done.stderr


DIGEST = f"sha256:{'0123' * 16}"


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        pytest.param("digest={d}", "agentrun/operator@{d}", id="digest"),
        pytest.param("tag=2,digest={d}", "agentrun/operator:2@{d}", id="tag-and-digest"),
        pytest.param("tag=2@{d}", "agentrun/operator:2@{d}", id="digest-in-the-tag"),
        pytest.param("repository=registry.test:5000/op", "registry.test:5000/op:0.1.0", id="port"),
    ],
)
def test_an_image_is_selected_by_tag_or_digest(image: str, reference: str) -> None:
    settings = ",".join(f"images.operator.{one}" for one in image.format(d=DIGEST).split(","))
    spec = helm.pod_specs(helm.render("--set-string", settings))["agentrun-operator"]
    assert spec["containers"][0]["image"] == reference.format(d=DIGEST)


def test_profiles_name_images_by_digest() -> None:
    specs = helm.profiles(helm.render("--set-string", f"images.agent.digest={DIGEST}"))
    assert specs["codex"]["image"] == f"agentrun/agent@{DIGEST}"


@pytest.mark.parametrize("image", ["operator", "mcpServer", "runner", "agent"])
@pytest.mark.parametrize("repository", [f"registry.test/op@{DIGEST}", "registry.test:5000/op:1"])
def test_a_tag_or_digest_in_a_repository_is_refused(image: str, repository: str) -> None:
    done = helm.template("--set-string", f"images.{image}.repository={repository}")
    assert done.returncode != 0
    assert f"Set them in images.{image}.tag and images.{image}.digest" in done.stderr


class TestSubchart:
    """The chart as a dependency of another, which Helm gives values of its own."""

    @staticmethod
    def umbrella(folder: Path, *, alias: str = "", values: dict[str, Any] | None = None) -> Path:
        dependency = {
            "name": "agentrun",
            "version": "0.1.0",
            "condition": f"{alias or 'agentrun'}.enabled",
            "tags": ["agents"],
        }
        chart = {
            "apiVersion": "v2",
            "name": "platform",
            "version": "1.0.0",
            "dependencies": [dependency | ({"alias": alias} if alias else {})],
        }
        shutil.copytree(helm.CHART, folder / "charts" / "agentrun")
        (folder / "Chart.yaml").write_text(yaml.safe_dump(chart))
        shared = {"global": {"imageRegistry": "registry.test"}, "tags": {"agents": True}}
        own = {alias or "agentrun": values or {}}
        (folder / "values.yaml").write_text(yaml.safe_dump(shared | own))
        return folder

    @pytest.mark.parametrize("alias", ["", "coding", "my_Agents"])
    def test_is_switched_by_a_condition_and_found_by_its_labels(
        self, tmp_path: Path, alias: str
    ) -> None:
        values = {"enabled": True, "tags": {}, "crds": {"enabled": False}}
        chart = self.umbrella(tmp_path, alias=alias, values=values)
        objects = rendered("x", chart=chart)
        check_names(objects)
        wanted = dict(one.split("=") for one in SELECTOR.split(","))
        (service,) = [
            one
            for one in objects
            if one["kind"] == "Service" and wanted.items() <= one["metadata"]["labels"].items()
        ]
        (deployment,) = [
            one
            for one in objects
            if one["kind"] == "Deployment" and one["metadata"]["name"].endswith("-mcp")
        ]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
        off = f"{alias or 'agentrun'}.enabled=false"
        assert rendered("x", "--set", off, chart=chart) == []

    def test_two_in_one_release_select_different_pods(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        names, selectors = [], []
        for alias in ("one", "two"):
            objects = rendered("x", chart=self.umbrella(tmp_path / alias, alias=alias))
            names += [one["metadata"]["name"] for one in objects if one["kind"] == "Deployment"]
            selectors += [
                one["spec"]["selector"]["matchLabels"]
                for one in objects
                if one["kind"] == "Deployment"
            ]
        assert len(set(names)) == len({str(one) for one in selectors}) == 4

    def test_null_in_the_parents_values_is_refused_by_its_path(self, tmp_path: Path) -> None:
        chart = self.umbrella(tmp_path, values={"operator": {"pod": None}})
        done = helm.run("helm", "template", "x", chart, "--kube-version", helm.KUBERNETES)
        assert done.returncode != 0
        assert "/operator" in done.stderr
        assert "pod" in done.stderr
