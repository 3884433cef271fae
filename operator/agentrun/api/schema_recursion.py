"""
Finds JSON Schemas that no value satisfies, because each value must contain another one.

A definition may refer to itself in a part of the value that may be missing, as the children of a
node. If the part is required, a value has no end. Pure, and fast for schemas within the limits of
``agentrun.api.output_schema``.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

MAX_SUBSCHEMAS = 2000

Groups = list[Sequence[str]]
"""What a value needs: of each group, it must satisfy at least one schema."""


def endless(found: Mapping[str, Any], led: Mapping[tuple[str, str], str]) -> str | None:
    """
    Return the pointer of the schema because of which no value is finite; None if there is none.

    ``found`` has all subschemas by JSON Pointer, and ``led`` where their references lead, by
    pointer and keyword.
    """
    needs = {pointer: _needs(pointer, schema, led) for pointer, schema in found.items()}
    finite = _finite(needs)
    pointer, on_the_way = "", set[str]()
    while pointer not in finite and pointer not in on_the_way:
        on_the_way.add(pointer)
        missing = next(one for one in needs[pointer] if not finite.intersection(one))
        if not missing:
            break
        pointer = missing[0]
    return None if pointer in finite else pointer


def _finite(needs: Mapping[str, Groups]) -> set[str]:
    """Return the schemas that a finite value satisfies."""
    users = defaultdict[str, list[tuple[str, int]]](list)
    for pointer, groups in needs.items():
        for at, group in enumerate(groups):
            for one in group:
                users[one].append((pointer, at))
    open_groups = {pointer: set(range(len(groups))) for pointer, groups in needs.items()}
    finite, waiting = set[str](), [pointer for pointer, groups in needs.items() if not groups]
    while waiting:
        pointer = waiting.pop()
        if pointer in finite:
            continue
        finite.add(pointer)
        for user, at in users[pointer]:
            open_groups[user].discard(at)
            if not open_groups[user]:
                waiting.append(user)
    return finite


def _needs(pointer: str, schema: Any, led: Mapping[tuple[str, str], str]) -> Groups:
    if schema is False:
        return [()]
    # The schema may be invalid: it is checked against its dialect only after this.
    if not isinstance(schema, dict) or {"const", "enum"} & schema.keys():
        return []
    groups: Groups = [(led[pointer, name],) for name in schema if (pointer, name) in led]
    groups += [(one,) for one in _listed(pointer, schema, "allOf")]
    groups += [either for name in ("anyOf", "oneOf") if (either := _listed(pointer, schema, name))]
    if schema.get("type") in ("object", ["object"]):
        groups += _properties(pointer, schema)
    if schema.get("type") in ("array", ["array"]):
        groups += _elements(pointer, schema)
    return groups


def _properties(pointer: str, schema: dict[str, Any]) -> Groups:
    named = dict(_named(pointer, schema, "properties"))
    required = schema.get("required")
    names = [one for one in required if isinstance(one, str)] if isinstance(required, list) else []
    groups: Groups = [(named[one],) for one in names if one in named]
    if _number(schema, "minProperties") and isinstance(schema.get("additionalProperties"), dict):
        by_pattern = [one for _, one in _named(pointer, schema, "patternProperties")]
        groups.append((*named.values(), *by_pattern, f"{pointer}/additionalProperties"))
    return groups


def _elements(pointer: str, schema: dict[str, Any]) -> Groups:
    count = _number(schema, "minItems")
    first = _listed(pointer, schema, "prefixItems") or _listed(pointer, schema, "items")
    groups: Groups = [(one,) for one in first[:count]]
    if count > len(first):
        rest = "additionalItems" if isinstance(schema.get("items"), list) else "items"
        groups += [(f"{pointer}/{rest}",)] if _is_schema(schema.get(rest)) else []
    if _is_schema(schema.get("contains")) and schema.get("minContains") != 0:
        groups.append((f"{pointer}/contains",))
    return groups


def _number(schema: dict[str, Any], name: str) -> int:
    value = schema.get(name)
    return int(min(value, MAX_SUBSCHEMAS)) if isinstance(value, int | float) and value > 0 else 0


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _listed(pointer: str, schema: dict[str, Any], name: str) -> list[str]:
    value = schema.get(name)
    return [f"{pointer}/{name}/{at}" for at in range(len(value))] if isinstance(value, list) else []


def _named(pointer: str, schema: dict[str, Any], name: str) -> list[tuple[str, str]]:
    value = schema.get(name)
    if not isinstance(value, dict):
        return []
    return [
        (key, f"{pointer}/{name}/{escaped(key)}") for key, one in value.items() if _is_schema(one)
    ]


def escaped(key: str) -> str:
    """Return a key as a part of a JSON Pointer."""
    return key.replace("~", "~0").replace("/", "~1")
