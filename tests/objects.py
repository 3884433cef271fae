"""Strategies for Kubernetes objects, including odd ones, that the schemas of the CRDs accept."""

import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from agentrun.api.crd import structural
from agentrun.api.v1alpha1 import AgentProfile, AgentRun, AgentSession

Json = dict[str, Any]

KINDS = {"agentruns": AgentRun, "agentsessions": AgentSession, "agentprofiles": AgentProfile}
DEPTHS = (1, 60, 95, 96, 97, 150, 205, 260, 900, 1100, 3000)
"""Values on both sides of each nesting limit: AgentRun's, pydantic's two, Python's."""
QUIETLY = settings(
    database=None,
    deadline=None,
    max_examples=25,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
"""The same objects in each run, on any machine."""

_TIME = "2026-11-23T12:00:00Z"
_MOST = 3
_TEXTS = st.text(max_size=20) | st.sampled_from(["", " ", "a\0b", "\x1b[31m", "\ud800", "…" * 40])
_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | _TEXTS


def nested(depth: int, inner: Any = 1) -> Json:
    """Build an object of ``depth`` nested objects."""
    made: Any = inner
    for _ in range(depth):
        made = {"a": made}
    assert isinstance(made, dict)
    return made


def written(value: Any) -> str:
    """Serialize JSON of any depth, which the standard encoder cannot."""
    deepest, depth = value, 0
    while isinstance(deepest, dict) and list(deepest) == ["a"]:
        deepest, depth = deepest["a"], depth + 1
    if depth > 50:
        return '{"a":' * depth + written(deepest) + "}" * depth
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)}:{written(inner)}" for key, inner in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


def objects(plural: str) -> st.SearchStrategy[Json]:
    """Generate the spec and status of objects of a kind."""
    schema = structural(KINDS[plural])["properties"]
    parts = {part: _of(schema[part]) for part in ("spec", "status") if part in schema}
    return st.fixed_dictionaries(parts)


def free() -> st.SearchStrategy[Json]:
    """Generate values for a field that preserves unknown content."""
    values = st.recursive(
        _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner), max_leaves=8
    )
    return st.dictionaries(_TEXTS, values, max_size=4) | st.sampled_from(DEPTHS).map(nested)


def _of(node: Json) -> st.SearchStrategy[Any]:
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return free()
    match node.get("type"):
        case "object":
            return _object(node)
        case "array":
            keys = node.get("x-kubernetes-list-map-keys")
            by = (lambda one: tuple(one.get(key) for key in keys)) if keys else None
            most = min(_MOST, node.get("maxItems", _MOST))
            return st.lists(
                _of(node["items"]), min_size=node.get("minItems", 0), max_size=most, unique_by=by
            )
        case "string":
            return _string(node)
        case "integer":
            least, most = node.get("minimum", -5), node.get("maximum", 10**6)
            return st.integers(least, max(least, most))
        case "boolean":
            return st.booleans()
    return _SCALARS


def _object(node: Json) -> st.SearchStrategy[Json]:
    if "properties" not in node:
        values = _of(node.get("additionalProperties", {}))
        return st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), values, max_size=2)
    fields = {name: _of(child) for name, child in node["properties"].items()}
    needed = {name: fields.pop(name) for name in node.get("required", [])}
    return st.fixed_dictionaries(needed, optional=fields)


def _string(node: Json) -> st.SearchStrategy[str]:
    if node.get("format") == "date-time":
        return st.just(_TIME)
    least, most = node.get("minLength", 0), node.get("maxLength", 100)
    pattern = node.get("pattern", "")
    if pattern and "x00]*$" not in pattern:
        found = st.from_regex(pattern.replace("$", r"\Z"), alphabet=st.characters(codec="ascii"))
        return found.filter(lambda text: least <= len(text) <= most)
    return _TEXTS.filter(lambda text: least <= len(text) <= most)
