"""The CRDs in the chart are the generated ones, and Helm keeps them when it goes."""

from typing import Any

import pytest
import yaml

from agentrun.api.crd import crds
from tests.unit.chart import helm

GENERATED = {crd["metadata"]["name"]: crd for crd in crds()}


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_chart_renders_the_crd_as_it_was_generated(name: str) -> None:
    rendered = helm.find(helm.render(), "CustomResourceDefinition", name)
    annotations: dict[str, Any] = rendered["metadata"]["annotations"]
    assert annotations == {"helm.sh/resource-policy": "keep"}
    assert rendered["spec"] == GENERATED[name]["spec"]


def test_chart_holds_no_other_crds() -> None:
    files = (helm.CHART / "files" / "crds").glob("*.yaml")
    assert {yaml.safe_load(file.read_text())["metadata"]["name"] for file in files} == set(
        GENERATED
    )
