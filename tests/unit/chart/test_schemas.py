"""
Everything the chart renders is what Kubernetes calls by that kind: kubeconform checks it.

The schemas come from the official client's models, so that no download is needed: they know
every field of every kind, and refuse those that do not exist.
"""

import json
from pathlib import Path

import pytest
from kubernetes import client

from tests.unit.chart import helm


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a schema for each kind that the chart renders."""
    folder = tmp_path_factory.mktemp("schemas")
    rendered = [one for path in helm.VALUES.glob("*.yaml") for one in helm.render("--values", path)]
    for kind in {one["kind"] for one in [*helm.render(), *rendered]}:
        schema = getattr(client, f"V1{kind}").model_json_schema()
        (folder / f"{kind.lower()}.json").write_text(json.dumps(schema))
    return folder


def conform(schemas: Path, manifests: str) -> tuple[int, str]:
    location = f"{schemas}/{{{{ .ResourceKind }}}}.json"
    done = helm.run(
        "kubeconform", "-strict", "-summary", "-schema-location", location, stdin=manifests
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="with-crds"),
        *(
            pytest.param(["--values", path], id=path.stem)
            for path in sorted(helm.VALUES.glob("*.yaml"))
        ),
    ],
)
def test_rendered_objects_conform(schemas: Path, arguments: list[str | Path]) -> None:
    code, said = conform(schemas, helm.template(*arguments).stdout)
    assert code == 0, said
    assert "Invalid: 0, Errors: 0, Skipped: 0" in said


def test_a_field_that_does_not_exist_is_found(schemas: Path) -> None:
    manifest = helm.template("--show-only", "templates/mcp/deployment.yaml").stdout
    code, said = conform(schemas, manifest.replace("readinessProbe:", "readynessProbe:"))
    assert code != 0
    assert "readynessProbe" in said
