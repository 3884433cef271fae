"""
Generates the CustomResourceDefinitions from the models.

A Kubernetes structural schema is a dialect of JSON Schema: no references, no unions, no titles,
absent instead of null. ``python -m agentrun.api.crd FOLDER...`` writes one file per kind into
each folder; a test compares the committed files with the generated ones.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agentrun.api.base import GROUP, VERSION, Model
from agentrun.api.v1alpha1 import AgentProfile, AgentRun, AgentSession

_DROPPED = frozenset(
    {"title", "$defs", "const", "discriminator", "examples", "additionalProperties"}
)
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
# Neither a database column of text nor a program argument can contain NUL. The API server uses
# Go's regular expressions, in which this also matches multi-line text.
_NO_NUL = r"^[^\x00]*$"
_HELD = frozenset({"pattern", "enum", "format"})
# `kubectl delete all --all` is for what users create and delete every day: of these kinds, runs. A
# category `agentrun` would replace the kind's name: `kubectl get agentrun NAME` would be refused.
_CATEGORY = "agentrun-dev"
_IN_ALL = frozenset({"AgentRun"})
_HEADER = "# Generated from operator/agentrun/api by `make generate`. Do not edit.\n"

Column = dict[str, Any]


def _column(name: str, path: str, *, priority: int = 0, kind: str = "string") -> Column:
    column: Column = {"name": name, "type": kind, "jsonPath": path}
    return column | ({"priority": priority} if priority else {})


_AGE = _column("Age", ".metadata.creationTimestamp", kind="date")

_RUN_COLUMNS = [
    _column("Backend", ".spec.backend"),
    _column("Phase", ".status.phase"),
    _column("Reason", ".status.reason"),
    _column("Started", ".status.startTime", kind="date"),
    _column("Finished", ".status.completionTime", kind="date"),
    _AGE,
    _column("Session", ".spec.session.name", priority=1),
    _column("Pod", ".status.podName", priority=1),
    _column("Node", ".status.nodeName", priority=1),
    _column("Files", ".status.result.filesChanged", priority=1, kind="integer"),
    _column("Message", ".status.message", priority=1),
]
_SESSION_COLUMNS = [
    _column("Backend", ".spec.backend"),
    _column("Active", ".status.activeRun.name"),
    _column("Last", ".status.lastRun"),
    _AGE,
]
_PROFILE_COLUMNS = [
    _column("Backend", ".spec.backend"),
    _column("Model", ".spec.models.default"),
    _AGE,
    _column("Image", ".spec.image", priority=1),
    _column("Description", ".spec.description", priority=1),
]


def crds() -> list[dict[str, Any]]:
    """Return all CustomResourceDefinitions."""
    return [
        _crd(AgentRun, "agentruns", ["run", "runs"], _RUN_COLUMNS,
             [".spec.backend", ".spec.session.name", ".status.phase"]),
        _crd(AgentSession, "agentsessions", ["asession", "asessions"], _SESSION_COLUMNS, []),
        _crd(AgentProfile, "agentprofiles", ["aprofile", "aprofiles"], _PROFILE_COLUMNS, []),
    ]  # fmt: skip


def structural(model: type[Model]) -> dict[str, Any]:
    """Return the structural schema of ``model``, with its CEL rules and field descriptions."""
    schema = model.model_json_schema(by_alias=True)
    return _node(schema, schema.get("$defs", {}))


def _crd(
    model: type[Model], plural: str, short: list[str], columns: list[Column], selectable: list[str]
) -> dict[str, Any]:
    kind = model.__name__
    schema = structural(model)
    # The API server owns these three; a schema may not restrict them.
    schema["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    schema["required"] = ["spec"]
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": columns,
    }
    if "status" in schema["properties"]:
        _drop_defaults(schema["properties"]["status"])
        version["subresources"] = {"status": {}}
    if selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": short,
                "categories": ["all", _CATEGORY] if kind in _IN_ALL else [_CATEGORY],
            },
            "versions": [version],
        },
    }


def _node(node: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Convert one schema node: resolve references, drop what is not structural, recurse."""
    node = _resolved(_without_null(_resolved(node, definitions)), definitions)
    free = node.get("additionalProperties") is True or node.get(_PRESERVE)
    values = node.get("additionalProperties")
    result = {key: value for key, value in node.items() if key not in _DROPPED}
    if "properties" in node:
        result["properties"] = {
            name: _node(child, definitions) for name, child in node["properties"].items()
        }
    if "items" in node:
        result["items"] = _node(node["items"], definitions)
    if isinstance(values, dict) and not free:
        result["additionalProperties"] = _node(values, definitions)
        result = _renamed(result, {"maxLength": "maxProperties"})
    if free:
        result[_PRESERVE] = True
    if result.get("type") == "string" and not _HELD & set(result):
        result["pattern"] = _NO_NUL
    if not _is_useful_default(result):
        result.pop("default", None)
    return result


def _is_useful_default(node: dict[str, Any]) -> bool:
    """Whether the API server should apply the default: scalars, and lists used by CEL rules."""
    default = node.get("default")
    if isinstance(default, dict) or default is None:
        return False
    return default != [] or "x-kubernetes-list-map-keys" in node


def _drop_defaults(node: Any) -> None:
    """Drop every default below ``node``: a status contains only what was observed."""
    if isinstance(node, dict):
        node.pop("default", None)
        for child in node.values():
            _drop_defaults(child)


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Replace a reference with its definition; keys beside the reference take precedence."""
    reference = node.get("$ref")
    if reference is None:
        return node
    definition = _resolved(definitions[reference.rpartition("/")[2]], definitions)
    return {**definition, **{key: value for key, value in node.items() if key != "$ref"}}


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    """Convert ``X | None`` to an optional X, as Kubernetes expresses it."""
    choices = [choice for choice in node.get("anyOf", []) if choice.get("type") != "null"]
    if "anyOf" not in node:
        return node
    if len(choices) != 1:
        raise ValueError(f"a structural schema cannot express {node['anyOf']}: use sibling fields")
    rest = {key: value for key, value in node.items() if key not in ("anyOf", "default")}
    return {**choices[0], **rest}


def _renamed(node: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in node.items()}


def write(folders: Iterable[Path]) -> list[Path]:
    """Write every CRD into each of ``folders`` and return the files."""
    import yaml  # the images that only read the models have no YAML writer

    written = []
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for crd in crds():
            path = folder / f"{crd['metadata']['name']}.yaml"
            text = yaml.safe_dump(crd, sort_keys=False, width=100, allow_unicode=True)
            path.write_text(_HEADER + text, encoding="utf-8")
            written.append(path)
    return written


if __name__ == "__main__":
    write(Path(argument) for argument in sys.argv[1:])
