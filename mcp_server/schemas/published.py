"""
The schemas of the tools as ``tools/list`` publishes them.

A client sends them to its model with every request, so they have what a model and a validator need
and nothing else: no titles, no extensions of Kubernetes, no definitions that are used once. A
schema of results describes their form; docs/tools.md describes their fields. All are JSON Schema of
the drafts 7 and 2020-12, in the strict mode of validators.
"""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_NEVER = frozenset({"title", "$defs"})
_EXTENSION = "x-"
_SUBSCHEMAS = frozenset({"properties"})
_LENGTHS = frozenset(f"{end}{what}" for end in ("min", "max") for what in ("Length", "Items"))
"""Not published: a model does not count characters, and the error of a call names the limit."""
_OF_INPUT = frozenset(
    # That results have no further fields would make an addition an error for clients that keep
    # the schema of an older version.
    ["additionalProperties", "default", "description", "format", "pattern", "minimum", "maximum"]
)
"""The keywords that only a caller needs, who has to write the values."""


def input_schema(schema: Schema) -> dict[str, Any]:
    """Return the schema of a tool's arguments, which forbids arguments that it does not list."""
    whole = closed(schema)
    found: dict[str, Any] = _published(whole, whole.get("$defs", {}), _LENGTHS)
    return found


def output_schema(schema: Schema) -> dict[str, Any]:
    """Return the schema of a tool's results: their fields and types."""
    dropped = _LENGTHS | _OF_INPUT
    found: dict[str, Any] = _published(schema, schema.get("$defs", {}), dropped)
    return found


def closed(schema: Any) -> Any:
    """Return the schema with ``additionalProperties: false`` in objects that have properties."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


def _published(schema: Any, definitions: Schema, dropped: frozenset[str]) -> Any:
    """Return a schema with references resolved, and without what nobody needs."""
    if isinstance(schema, list):
        return [_published(one, definitions, dropped) for one in schema]
    if isinstance(schema, str):
        # A description may have the line breaks of the docstring that it comes from.
        return " ".join(schema.split()) if "\n" in schema else schema
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        own = {key: value for key, value in schema.items() if key != "$ref"}
        return _published({**target, **own}, definitions, dropped)
    found = {
        key: {name: _published(one, definitions, dropped) for name, one in value.items()}
        if key in _SUBSCHEMAS
        else _published(value, definitions, dropped)
        for key, value in schema.items()
        if not _is_dropped(key, value, dropped)
    }
    return _joined(found)


def _is_dropped(key: str, value: Any, dropped: frozenset[str]) -> bool:
    if key == "additionalProperties":
        return value is True or (value is False and key in dropped)
    is_no_default = key == "default" and value is None
    return key in _NEVER or key in dropped or key.startswith(_EXTENSION) or is_no_default


def _joined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return ``anyOf`` of one schema and null as that schema, with two types."""
    match schema.get("anyOf"):
        case [{"type": str(kind)} as only, {"type": "null"}] if "enum" not in only:
            rest = {key: value for key, value in schema.items() if key != "anyOf"}
            return {**only, **rest, "type": [kind, "null"]}
    return schema
