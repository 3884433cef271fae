"""Which schemas of callers are taken."""

import time
from typing import Any

import pytest

from agentrun.api.output_schema import check_bounds

Json = dict[str, Any]
STRING: Json = {"type": "string"}


def nested(levels: int, key: str = "items") -> Json:
    schema: Json = {}
    for _ in range(levels - 1):
        schema = {key: schema} if key != "properties" else {key: {"a": schema}}
    return schema


TREE: Json = {
    "$defs": {"node": {"properties": {"children": {"items": {"$ref": "#/$defs/node"}}}}},
    "$ref": "#/$defs/node",
}
DOUBLING: Json = {
    "$defs": {
        **{f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(30)},
        "a30": STRING,
    },
    "$ref": "#/$defs/a0",
}


def required(kind: str, name: str) -> Json:
    """A node whose only child is required, and is a node as the whole is."""
    return {"type": kind, "required": [name], "properties": {name: {"$ref": "#"}}}


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({}, id="empty"),
        pytest.param({"title": "Any", "default": {}}, id="annotations"),
        pytest.param({"$schema": "http://json-schema.org/draft-07/schema#"}, id="draft-07"),
        pytest.param({"anyOf": [{"type": "null"}, required("object", "a")]}, id="a-list"),
        pytest.param({**required("object", "a"), "type": ["object", "null"]}, id="or-null"),
        pytest.param(required("array", "a"), id="only-of-objects"),
        pytest.param(
            {"type": "array", "minItems": 0, "items": {"$ref": "#"}}, id="list-without-items"
        ),
        pytest.param({"required": "a", "minItems": "x", "type": "array"}, id="invalid-otherwise"),
        pytest.param(TREE, id="recursion"),
        pytest.param({"properties": {"next": {"$ref": "#"}}}, id="recursion-of-the-whole"),
        pytest.param({"$defs": {"a": {"$anchor": "x"}}, "items": {"$ref": "#x"}}, id="anchor"),
        pytest.param(
            {"$id": "https://e.com/s", "$defs": {"a": {}}, "$ref": "https://e.com/s#/$defs/a"},
            id="own-id",
        ),
        pytest.param(
            {
                "$defs": {"a/b~c": {}, "d e": {}},
                "allOf": [{"$ref": "#/$defs/a~1b~0c"}, {"$ref": "#/$defs/d%20e"}],
            },
            id="escapes",
        ),
        pytest.param({"x-mine": {"a": STRING}, "$ref": "#/x-mine/a"}, id="anywhere-in-it"),
        pytest.param(
            {"const": {"$ref": "#/nowhere"}, "enum": [{"allOf": 1}]}, id="values-are-no-schemas"
        ),
        pytest.param({"properties": {"$ref": STRING, "not": STRING}}, id="names-are-no-keywords"),
        pytest.param(nested(32), id="as-deep-as-may-be"),
        pytest.param(nested(32, "properties"), id="as-deep-with-names"),
        pytest.param({"properties": {str(n): {} for n in range(1999)}}, id="as-many-as-may-be"),
    ],
)
def test_a_bounded_schema_is_accepted(schema: Json) -> None:
    check_bounds(schema)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        pytest.param({"description": "x" * 65_536}, "bytes", id="large"),
        pytest.param({"enum": list(range(60_000))}, "bytes", id="many-values"),
        pytest.param(nested(33), "32 subschemas deep", id="deep"),
        pytest.param(nested(33, "properties"), "32 subschemas deep", id="deep-with-names"),
        pytest.param(nested(900), "levels deep", id="very-deep"),
        pytest.param({"const": nested(40)}, "/const is more than 32 levels", id="deep-value"),
        pytest.param(
            {"properties": {str(n): {} for n in range(2000)}}, "2000 subschemas", id="many"
        ),
        pytest.param(
            {"items": {"$ref": "#/$defs/x"}}, "/items has \\$ref #/\\$defs/x", id="dangling"
        ),
        pytest.param({"not": {"$ref": "#x"}}, "/not has \\$ref #x", id="no-such-anchor"),
        pytest.param({"$ref": "https://example.com/x"}, "other documents are not", id="elsewhere"),
        pytest.param({"$ref": "file:///etc/passwd#/a"}, "does not resolve", id="file"),
        pytest.param({"$ref": 7}, "does not resolve", id="number"),
        pytest.param({"$dynamicRef": "#gone"}, "dynamicRef #gone", id="dynamic"),
        pytest.param(
            {"type": "object", "$ref": "#/type"}, "does not resolve", id="no-schema-there"
        ),
        pytest.param({"$ref": "#"}, "refers back", id="itself"),
        pytest.param(
            {
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}},
                "items": {"$ref": "#/$defs/a"},
            },
            "refers back",
            id="two",
        ),
        pytest.param({"not": {"if": {"$ref": "#"}}}, "refers back", id="through-keywords"),
        pytest.param({"dependentSchemas": {"a": {"$ref": "#"}}}, "refers back", id="dependent"),
        pytest.param({"x": {"not": {"$ref": "#/x"}}, "$ref": "#/x"}, "refers back", id="outside"),
        pytest.param(DOUBLING, "applies more than", id="doubling"),
        pytest.param({"$schema": {}}, r"\$schema is \{\}: it must be a string", id="no-dialect"),
        pytest.param({"$schema": "urn:x"}, "urn:x, which is not supported", id="unknown-dialect"),
        pytest.param(
            {"name": "a", "strict": True, "schema": {"type": "object"}},
            "schema contains the schema, pass its content alone",
            id="wrapped",
        ),
        pytest.param(
            {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
            "json_schema contains the schema",
            id="wrapped-with-a-type",
        ),
        pytest.param(
            {"type": "json_schema", "name": "a", "schema": {}, "strict": True},
            "schema contains the schema",
            id="wrapped-flat",
        ),
        pytest.param({"parameters": {"type": "object"}}, "parameters contains", id="function"),
        pytest.param({"score": STRING, "why": STRING}, "put them under properties", id="names"),
        pytest.param({"$defs": {"a": STRING}}, "restricts the answer", id="definitions-alone"),
        pytest.param(required("object", "a"), "requires itself", id="required"),
        pytest.param(
            {"type": "array", "minItems": 1, "items": {"$ref": "#"}}, "itself", id="items"
        ),
        pytest.param(
            {"type": "array", "contains": {"$ref": "#"}}, "requires itself", id="contains"
        ),
        pytest.param(
            {"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#"}},
            "requires itself",
            id="any-name",
        ),
        pytest.param(
            {"anyOf": [required("object", "a"), {"allOf": [required("object", "b")]}]},
            "requires itself",
            id="either",
        ),
        pytest.param(
            {"type": "object", "required": ["a"], "properties": {"a": False}},
            "/properties/a allows none",
            id="nothing-allowed",
        ),
        pytest.param({"items": {"$id": "https://e.com/x"}}, "has an \\$id", id="other-document"),
    ],
)
def test_a_too_large_or_recursive_schema_is_refused_with_the_reason(schema: Json, why: str) -> None:
    begin = time.process_time()
    with pytest.raises(ValueError, match=why):
        check_bounds(schema)
    assert time.process_time() - begin < 1


def test_not_all_of_millions_of_values_are_visited() -> None:
    begin = time.process_time()
    with pytest.raises(ValueError, match="larger than"):
        check_bounds({"enum": [[]] * 2_000_000})
    assert time.process_time() - begin < 2
