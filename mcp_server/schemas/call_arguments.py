"""
Reads the arguments of a tool call by the tool's input schema, as clients send them.

Some clients send an object or a list as a string of JSON, and null for every argument that they
leave out. Both are read at every level: a string where the schema has only an object or a list is
parsed, and null where the schema does not have it means the default. Everything else stays as it
is, above all text that happens to be JSON. Unknown arguments are refused, which the SDK drops: with
``workspace.git.brach``, a run would start from the wrong branch without notice. See
``docs/decisions/0011``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from agentrun.api.bounded_json import UnreadableJsonError, fault_of, read

Schema = Mapping[str, Any]
Path = tuple[str, ...]

MOST_LISTED = 5
"""The maximum number of wrong arguments in a message: a call may have a million."""
LONGEST_NAME = 100
"""The maximum length of an untrusted name in a message, in characters."""

_NAMES = {"object": "an object", "array": "a list"}
_STRUCTURES = frozenset({"object", "array"})
_CLASSES: Mapping[Any, type] = {"object": dict, "array": list, "null": type(None)}


class InvalidCallError(ValueError):
    """The arguments are unknown, no JSON, or beyond the limits. The message says what to do."""


def read_arguments(tool: str, schema: Schema, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the arguments of a call of ``tool``, whose input schema is ``schema``.

    Raises InvalidCallError. The types of single values are not checked here.
    """
    reading = _Reading(tool, schema.get("$defs", {}))
    _check_bounds(arguments)
    found: dict[str, Any] = reading.value(schema, dict(arguments), ())
    if reading.has_parsed:
        _check_bounds(found)
    if reading.faults:
        raise InvalidCallError(reading.message())
    return found


def shortened(text: str, most: int = LONGEST_NAME) -> str:
    """Return untrusted text for a message, cut off after ``most`` characters."""
    return text if len(text) <= most else f"{text[:most]}…"


def _check_bounds(arguments: Mapping[str, Any]) -> None:
    if why := fault_of(arguments, "The arguments"):
        raise InvalidCallError(f"{why} Correct it and call again.")


@dataclass
class _Reading:
    """The reading of one call's arguments."""

    tool: str
    definitions: Schema
    faults: list[str] = field(default_factory=list)
    has_parsed: bool = False

    def message(self) -> str:
        """Return the faults as one message."""
        more = " There are more." if len(self.faults) > MOST_LISTED else ""
        return " ".join(self.faults[:MOST_LISTED]) + more

    def value(self, schema: Schema, value: Any, path: Path) -> Any:
        """Return a value as the schema has it; what is wrong with it is in ``faults``."""
        if len(self.faults) > MOST_LISTED:
            return value
        choices = list(self._choices(schema))
        types = {one.get("type") for one in choices}
        if isinstance(value, str) and types & _STRUCTURES and types <= _STRUCTURES | {"null"}:
            value = self._parsed(value, types, path)
        if isinstance(value, float) and "integer" in types and value.is_integer():
            # JSON has one type of numbers, and JSON Schema takes 5.0 for an integer.
            return int(value)
        if isinstance(value, list):
            items = _first(choices, "items")
            return [self.value(items, one, (*path, str(index))) for index, one in enumerate(value)]
        if isinstance(value, dict):
            return self._object(choices, value, path)
        return value

    def _object(self, choices: list[Schema], value: dict[str, Any], path: Path) -> dict[str, Any]:
        fields = _first(choices, "properties")
        if not fields:
            return value
        required = {name for one in choices for name in one.get("required", ())}
        found: dict[str, Any] = {}
        for name, inner in value.items():
            if len(self.faults) > MOST_LISTED:
                break
            if name not in fields:
                self.faults.append(self._unknown(name, list(fields), path))
            elif inner is not None or name in required or self._takes_null(fields[name]):
                found[name] = self.value(fields[name], inner, (*path, name))
        return found

    def _parsed(self, text: str, types: set[Any], path: Path) -> Any:
        """Parse the JSON of an object or a list that was sent as a string."""
        where = shortened(".".join(path))
        wanted = " or ".join(_NAMES[one] for one in sorted(types & _STRUCTURES))
        try:
            value = read(text, where)
        except UnreadableJsonError as error:
            self.faults.append(f"{where} takes {wanted}, and this string is none in JSON: {error}")
            return text
        self.has_parsed = True
        if not any(isinstance(value, _CLASSES[one]) for one in types):
            self.faults.append(
                f"{where} takes {wanted}, and this string has something else in JSON."
            )
        return value

    def _unknown(self, name: str, known: list[str], path: Path) -> str:
        near = get_close_matches(name, known, 1) if len(name) <= LONGEST_NAME else []
        guess = f" Did you mean {'.'.join((*path, near[0]))}?" if near else ""
        whole = shortened(".".join((*path, name)))
        takes = ".".join((self.tool, *path))
        return f"Unknown argument {whole}.{guess} {takes} takes: {', '.join(known)}."

    def _choices(self, schema: Schema) -> Iterator[Schema]:
        """Yield the alternatives of a schema, with references resolved."""
        if "$ref" in schema:
            yield from self._choices(self.definitions[schema["$ref"].rpartition("/")[2]])
        elif "anyOf" in schema:
            for one in schema["anyOf"]:
                yield from self._choices(one)
        else:
            yield schema

    def _takes_null(self, schema: Schema) -> bool:
        return any(one.get("type", "null") == "null" for one in self._choices(schema))


def _first(choices: list[Schema], key: str) -> Schema:
    """Return the first ``key`` of the alternatives; empty if none has it."""
    found = (one[key] for one in choices if isinstance(one.get(key), dict))
    return next(found, {})
