import re
from pathlib import Path
from typing import Any

import pytest

from agentrun.api import crd
from agentrun.api.base import Model

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("folder", ["crds", "charts/agentrun/files/crds"])
def test_the_committed_crds_are_those_generated_from_the_models(
    folder: str, tmp_path: Path
) -> None:
    made = {path.name: path.read_text(encoding="utf-8") for path in crd.write([tmp_path])}
    committed = {
        path.name: path.read_text(encoding="utf-8") for path in (ROOT / folder).glob("*.yaml")
    }
    assert committed == made, "run `make generate`"


def test_a_union_is_refused_with_the_alternative() -> None:
    class Both(Model):
        value: int | str

    with pytest.raises(ValueError, match="use sibling fields"):
        crd.structural(Both)


def test_an_optional_field_may_be_absent_but_never_null() -> None:
    class Optional(Model):
        value: int | None = None

    schema = crd.structural(Optional)
    assert schema["properties"]["value"] == {"type": "integer"}
    assert "required" not in schema


def test_every_field_of_every_kind_is_described() -> None:
    undescribed = []

    def walk(node: dict[str, object], path: str) -> None:
        for name, child in (node.get("properties") or {}).items():  # type: ignore[attr-defined]
            if not child.get("description"):
                undescribed.append(f"{path}.{name}")
            walk(child, f"{path}.{name}")
        if isinstance(node.get("items"), dict):
            walk(node["items"], f"{path}[]")  # type: ignore[arg-type]

    for made in crd.crds():
        schema = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for part in ("spec", "status"):
            walk(schema["properties"].get(part, {}), f"{made['spec']['names']['kind']}.{part}")
    assert undescribed == []


def test_no_string_of_any_kind_accepts_a_nul() -> None:
    taken = []

    def walk(node: dict[str, Any], path: str) -> None:
        for name, child in (node.get("properties") or {}).items():
            walk(child, f"{path}.{name}")
        for part in ("items", "additionalProperties"):
            if isinstance(node.get(part), dict):
                walk(node[part], f"{path}[]")
        if node.get("type") == "string" and not {"enum", "format"} & set(node):
            tried = ("a\0b", "\0", "https://a/\0", "1\0", "snapshots/1\0")
            if any(re.search(node.get("pattern", ""), text) for text in tried):
                taken.append(path)

    for made in crd.crds():
        schema = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for part in ("spec", "status"):
            walk(schema["properties"].get(part, {}), f"{made['spec']['names']['kind']}.{part}")
    assert taken == []
