"""
Limits on the size and complexity of a caller's JSON Schema.

A validator follows the schema. So its size, and that each of its references resolves without a
loop, are checked before the schema is accepted. Pure, and fast for any input.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from agentrun.api.schema_recursion import MAX_SUBSCHEMAS, endless, escaped

MAX_BYTES = 64 * 1024
"""The size as JSON without white space."""
MAX_DEPTH = 32
"""How deep subschemas, and other values, may be nested."""
MAX_APPLIED = 10_000
"""How many subschemas may apply to the same value, including those of references."""

# Keywords with subschemas: a single one, a list, or a map by name.
_ONE = frozenset({
    "not", "if", "then", "else", "items", "additionalItems", "contains", "additionalProperties",
    "propertyNames", "unevaluatedItems", "unevaluatedProperties", "contentSchema", "extends",
})  # fmt: skip
_MANY = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items", "extends"})
_NAMED = frozenset({
    "dependentSchemas", "dependencies", "properties", "patternProperties", "$defs", "definitions",
})  # fmt: skip
_KEYWORDS = _ONE | _MANY | _NAMED
_SAME = frozenset({
    "not", "if", "then", "else", "allOf", "anyOf", "oneOf", "dependentSchemas", "dependencies",
    "extends",
})  # fmt: skip
"""The keywords whose subschemas apply to the same value, not to a part of it."""
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
DIALECTS = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-04/schema",
    "http://json-schema.org/draft-03/schema",
)
"""The values of ``$schema`` that are known, the default first; a # may follow."""
_WRAPPERS = ("json_schema", "function")
"""What providers of models name the type of an object that contains a schema."""
_ROOT_KEYWORDS = (_KEYWORDS - {"definitions", "$defs"}) | {
    "$ref", "$dynamicRef", "$recursiveRef", "type", "enum", "const", "required", "disallow",
    "pattern", "format", "minLength", "maxLength", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "divisibleBy", "minItems", "maxItems",
    "uniqueItems", "minContains", "maxContains", "minProperties", "maxProperties",
    "dependentRequired", "contentEncoding", "contentMediaType",
}  # fmt: skip
"""The keywords that can restrict a value."""
_SHOWN = 200


def check_bounds(schema: dict[str, Any]) -> None:
    """
    Check the limits of a schema.

    Raises ValueError, which names the place, if the schema is too large, has a reference that does
    not resolve, loops, is of an unknown dialect, or is wrapped into an object that is no schema.
    """
    _check_size(schema)
    _check_dialect(schema)
    _check_wrapper(schema)
    _Walk(schema).check()


def references(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each reference of a schema that is within the limits: a description, the target."""
    walk = _Walk(schema)
    walk.check()
    for pointer, keyword, target in walk.references:
        yield _described(pointer, keyword, target), target


def count_subschemas(schema: dict[str, Any]) -> int:
    """Count the subschemas of a schema that is within the limits."""
    walk = _Walk(schema)
    walk.find()
    return len(walk.found)


def _check_size(schema: dict[str, Any]) -> None:
    """Check the size without reading more than the limit allows."""
    left: list[tuple[Any, int]] = [(schema, 0)]
    values = 1
    while left:
        value, depth = left.pop()
        # Between two subschemas there may be a map or a list.
        if depth > 3 * MAX_DEPTH:
            raise ValueError(f"it is more than {MAX_DEPTH} levels deep")
        if not isinstance(value, dict | list):
            continue
        inside = value.values() if isinstance(value, dict) else value
        # Each value takes at least one byte.
        values += len(inside)
        if values > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        left.extend((one, depth + 1) for one in inside)
    size = len(
        json.dumps(schema, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    )
    if size > MAX_BYTES:
        raise ValueError(f"it is {size} bytes, more than {MAX_BYTES}")


def _check_dialect(schema: dict[str, Any]) -> None:
    dialect = schema.get("$schema", DIALECTS[0])
    if not isinstance(dialect, str):
        raise ValueError(f"$schema is {_short(json.dumps(dialect))}: it must be a string, a URI")
    if dialect.removesuffix("#") not in DIALECTS:
        known = ", ".join(DIALECTS)
        raise ValueError(
            f"$schema is {_short(dialect)}, which is not supported: omit it, or use one of {known}"
        )


def _check_wrapper(schema: dict[str, Any]) -> None:
    """Raise ValueError if any JSON would satisfy an object that means something else."""
    if schema.get("type") in _WRAPPERS or not (schema.keys() & _ROOT_KEYWORDS):
        for name in sorted(schema, key=lambda name: "schema" not in name.lower()):
            if isinstance(schema[name], dict) and name not in ("$id", "default"):
                raise ValueError(
                    f"it is not a JSON Schema: none of its keys ({_short(', '.join(schema))})"
                    f" restricts the answer. If {_short(name)} contains the schema, pass its"
                    " content alone; if the keys are names of properties, put them under properties"
                )


class _Walk:
    """All subschemas of a schema by JSON Pointer, and which apply to the same value."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.found: dict[str, Any] = {}
        self.same: dict[str, list[str]] = {}
        self.anchors: dict[str, str] = {}
        self.references: list[tuple[str, str, Any]] = []
        self.led: dict[tuple[str, str], str] = {}

    def check(self) -> None:
        """Find all subschemas and resolve all references. Raises ValueError if one is invalid."""
        self.find()
        # The target of a reference is a schema, wherever it is.
        for pointer, keyword, target in self.references:
            led = self._resolve(target)
            if led is None:
                where = _described(pointer, keyword, target)
                raise ValueError(f"{where}, which does not resolve: {_advice(target)}")
            if led not in self.found:
                self.find(led)
            self.same[pointer].append(led)
            self.led[pointer, keyword] = led
        self._check_loops()
        if (unending := endless(self.found, self.led)) is not None:
            raise ValueError(
                f"no value satisfies it: {_short(unending) or '/'} allows none, or requires itself"
                " in each value, without an end"
            )

    def find(self, start: str = "") -> None:
        """Find the subschemas below the pointer ``start``."""
        left = [(start, self._at(start), 1)]
        while left:
            pointer, schema, depth = left.pop()
            if pointer in self.found:
                continue
            self.found[pointer] = schema
            if len(self.found) > MAX_SUBSCHEMAS:
                raise ValueError(f"it has more than {MAX_SUBSCHEMAS} subschemas")
            if depth > MAX_DEPTH:
                raise ValueError(
                    f"it is more than {MAX_DEPTH} subschemas deep, at {_short(pointer)}"
                )
            self.same[pointer] = []
            if not isinstance(schema, dict):
                continue
            self._note(pointer, schema)
            for child, one, is_same in _children(pointer, schema):
                if is_same:
                    self.same[pointer].append(child)
                left.append((child, one, depth + 1))

    def _note(self, pointer: str, schema: dict[str, Any]) -> None:
        if pointer and isinstance(schema.get("$id"), str):
            raise ValueError(f"{_short(pointer)} has an $id: only the root schema may have one")
        for name in ("$anchor", "$dynamicAnchor"):
            if isinstance(anchor := schema.get(name), str):
                self.anchors[anchor] = pointer
        for name in _REFERENCES:
            if name in schema:
                self.references.append((pointer, name, schema[name]))
        for name, value in schema.items():
            if name not in _KEYWORDS and _depth(value) > MAX_DEPTH:
                where = _short(f"{pointer}/{escaped(name)}")
                raise ValueError(f"{where} is more than {MAX_DEPTH} levels deep")

    def _resolve(self, target: Any) -> str | None:
        """Return the pointer that a reference resolves to; None if there is no schema."""
        if not isinstance(target, str):
            return None
        document, _, fragment = target.partition("#")
        if document and document != str(self.schema.get("$id", "")).partition("#")[0]:
            return None
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            return self.anchors.get(fragment)
        try:
            found = self._at(fragment)
        except (KeyError, IndexError, ValueError, TypeError):
            return None
        return fragment if isinstance(found, (dict, bool)) else None

    def _at(self, pointer: str) -> Any:
        value: Any = self.schema
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(value, list) and not (key.isascii() and key.isdecimal()):
                raise KeyError(key)
            value = value[int(key)] if isinstance(value, list) else value[key]
        return value

    def _check_loops(self) -> None:
        """Raise ValueError if infinitely or too many subschemas apply to one value."""
        applied: dict[str, int] = {}
        on_the_way: set[str] = set()
        for start in self.found:
            left = [start]
            while left:
                pointer = left[-1]
                if pointer in applied:
                    left.pop()
                    continue
                if pointer not in on_the_way:
                    on_the_way.add(pointer)
                    for child in self.same[pointer]:
                        if child in on_the_way:
                            raise ValueError(
                                f"{_short(pointer) or '/'} refers back to {_short(child) or '/'}"
                                " without descending into the value: validation would never end"
                            )
                        if child not in applied:
                            left.append(child)
                    continue
                left.pop()
                on_the_way.discard(pointer)
                applied[pointer] = 1 + sum(applied[child] for child in self.same[pointer])
                if applied[pointer] > MAX_APPLIED:
                    raise ValueError(
                        f"{_short(pointer) or '/'} applies more than {MAX_APPLIED} subschemas to"
                        " one value"
                    )


def _described(pointer: str, keyword: str, target: Any) -> str:
    return f"{_short(pointer) or '/'} has {keyword} {_short(target)}"


def _advice(target: Any) -> str:
    if isinstance(target, str) and not target.startswith("#"):
        return "other documents are not read; put their schemas under $defs, and refer to #/$defs/X"
    return "refer to a schema in it, such as #/$defs/X"


def _children(pointer: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Yield the direct subschemas with their pointers, and whether they apply to the same value."""
    for name in _KEYWORDS & schema.keys():
        value, where = schema[name], f"{pointer}/{escaped(name)}"
        is_same = name in _SAME
        if name in _NAMED and isinstance(value, dict):
            for key, one in value.items():
                if isinstance(one, (dict, bool)):
                    yield f"{where}/{escaped(key)}", one, is_same
        elif name in _MANY and isinstance(value, list):
            for index, one in enumerate(value):
                yield f"{where}/{index}", one, is_same
        elif name in _ONE and isinstance(value, (dict, bool)):
            yield where, value, is_same


def _depth(value: Any) -> int:
    """Return the depth of a value, without descending below the limit."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
        depth += any(isinstance(one, (dict, list)) for one in level)
        level = inner
    return depth


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
