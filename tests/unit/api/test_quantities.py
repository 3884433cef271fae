"""Kubernetes quantities: one table holds for the models, the CRD and the chart; and their sums."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from agentrun.api.quantities import parse, total
from agentrun.api.v1alpha1.profile import PodSettings, Resources, SessionSettings
from tests.quantities import ACCEPTED, REFUSED

_ROOT = Path(__file__).parents[3]
_CRD = yaml.safe_load((_ROOT / "crds" / "agentprofiles.agentrun.dev.yaml").read_text())
_CHART = json.loads((_ROOT / "charts" / "agentrun" / "values.schema.json").read_text())
_SPEC = _CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]

SCHEMAS: dict[str, dict[str, Any]] = {
    "chart": _CHART["definitions"]["quantity"],
    "crd-limits": _SPEC["resources"]["properties"]["limits"]["additionalProperties"],
    "crd-requests": _SPEC["resources"]["properties"]["requests"]["additionalProperties"],
    "crd-workspace": _SPEC["pod"]["properties"]["workspaceSize"],
    "crd-snapshot": _SPEC["sessions"]["properties"]["maxSnapshotSize"],
}


@pytest.mark.parametrize(
    ("quantities", "expected"),
    [
        pytest.param(("1Gi", "1Mi"), "1025Mi", id="binary"),
        pytest.param(("1M",), "1Mi", id="rounded-up"),
        pytest.param(("1.5Gi", "0"), "1536Mi", id="fractions"),
        pytest.param(("1048576",), "1Mi", id="plain-bytes"),
    ],
)
def test_adding_quantities(quantities: tuple[str, ...], expected: str) -> None:
    assert total(*quantities) == expected


@pytest.mark.parametrize(("written", "read"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_a_pod_accepts_is_read_as_a_plain_quantity(written: Any, read: str) -> None:
    assert Resources.model_validate({"limits": {"cpu": written}}).limits == {"cpu": read}
    assert PodSettings.model_validate({"workspaceSize": written}).workspace_size == read
    assert SessionSettings.model_validate({"maxSnapshotSize": written}).max_snapshot_size == read
    assert parse(read) >= 0
    assert re.fullmatch(r"[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i)?", read)


@pytest.mark.parametrize("written", REFUSED.values(), ids=REFUSED)
def test_what_a_pod_refuses_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError, match="quantity"):
        Resources.model_validate({"limits": {"cpu": written}})


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize(("written", "read"), ACCEPTED.values(), ids=ACCEPTED)
def test_a_schema_accepts_what_a_pod_accepts(
    schema: dict[str, Any], written: Any, read: str
) -> None:
    for one in (written, read):
        jsonschema.validate(one, schema)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("written", REFUSED.values(), ids=REFUSED)
def test_a_schema_refuses_what_a_pod_refuses(schema: dict[str, Any], written: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, schema)
