"""
Generates the schema of `profiles.*.spec` in the chart's values.schema.json from the AgentProfile.

    python -m dev.chart_schema charts/agentrun/values.schema.json

Helm refuses what this schema does not know before anything is installed. It is the CRD's own schema
without what JSON Schema does not have: the API server checks CEL rules when the hook writes the
profile. Helm merges a spec into what the chart derives from the other values, so these parts are
not required in it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from agentrun.api.crd import structural
from agentrun.api.v1alpha1 import AgentProfile

Schema = dict[str, Any]

NAME = "profileSpec"
_DERIVED = frozenset({"provider", "models", "resources"})
_SUBSCHEMAS = ("items", "additionalProperties")
# Descriptions are those of `kubectl explain`.
_DROPPED = frozenset({"description", "default", "format", "nullable"})
_EXTENSION = "x-kubernetes-"


def profile_spec() -> Schema:
    """Return the schema of `profiles.*.spec`."""
    spec = _closed(structural(AgentProfile)["properties"]["spec"])
    del spec["required"]
    for name in _DERIVED:
        _require_nothing(spec["properties"][name])
    description = "Any other field of the AgentProfile's spec (kubectl explain agentprofile.spec)."
    return {"description": description, **spec}


def fill(schema: str) -> str:
    """Return the text of values.schema.json with its generated definition replaced."""
    values = json.loads(schema)
    values["definitions"][NAME] = profile_spec()
    return json.dumps(values, indent=2) + "\n"


def _closed(node: Schema) -> Schema:
    """Convert a structural schema: JSON Schema alone, in which unknown fields are refused."""
    result = {
        key: value
        for key, value in node.items()
        if key not in _DROPPED and not key.startswith(_EXTENSION)
    }
    for key in _SUBSCHEMAS:
        if isinstance(node.get(key), dict):
            result[key] = _closed(node[key])
    if "properties" in node:
        result["properties"] = {name: _closed(one) for name, one in node["properties"].items()}
        if not node.get(f"{_EXTENSION}preserve-unknown-fields"):
            result["additionalProperties"] = False
    if node.get(f"{_EXTENSION}int-or-string"):
        result.pop("anyOf", None)
        result["type"] = ["integer", "string"]
    if node.get("nullable"):
        types = result["type"] if isinstance(result["type"], list) else [result["type"]]
        result["type"] = [*types, "null"]
    return result


def _require_nothing(node: Schema) -> None:
    node.pop("required", None)
    for one in node.get("properties", {}).values():
        _require_nothing(one)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(fill(file.read_text(encoding="utf-8")), encoding="utf-8")
