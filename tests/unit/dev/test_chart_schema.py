"""The part of the chart's schema that is generated from the AgentProfile."""

import json
from typing import Any

import jsonschema
import pytest

from dev.chart_schema import fill, profile_spec
from tests.unit.chart import helm

FILE = helm.CHART / "values.schema.json"


def test_the_charts_schema_is_the_generated_one() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert text == fill(text), "run: make generate"


def test_every_profile_takes_the_generated_spec() -> None:
    schema = json.loads(FILE.read_text(encoding="utf-8"))["definitions"]
    assert schema["profile"]["properties"]["spec"] == {"$ref": "#/definitions/profileSpec"}


def test_nothing_is_left_that_json_schema_does_not_have() -> None:
    assert "x-kubernetes" not in json.dumps(profile_spec())
    jsonschema.Draft7Validator.check_schema(profile_spec())


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"timeoutz": {}}, id="misspelt"),
        pytest.param({"pod": {"runAsUsr": 1}}, id="misspelt-below"),
        pytest.param({"env": [{"nam": "A"}]}, id="misspelt-in-a-list"),
        pytest.param({"env": [{"value": "x"}]}, id="incomplete-item-of-a-list"),
        pytest.param({"backend": "nobodys"}, id="unknown-value"),
        pytest.param({"timeouts": {"activeDeadlineSeconds": "1h"}}, id="type"),
        pytest.param({"timeouts": None}, id="null"),
        pytest.param({"resources": {"limits": {"cpu": "much"}}}, id="quantity"),
    ],
)
def test_what_the_api_server_would_drop_or_refuse_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spec, profile_spec())


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"provider": {"keySecret": {"name": "other"}}}, id="part-of-a-derived-value"),
        pytest.param({"pod": {"runAsUser": 2000}}, id="field"),
    ],
)
def test_a_part_of_a_spec_is_accepted(spec: dict[str, Any]) -> None:
    jsonschema.validate(spec, profile_spec())
