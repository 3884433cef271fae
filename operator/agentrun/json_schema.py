"""Checks a JSON Schema against its dialect: its keywords, patterns and references."""

from typing import Any

from jsonschema import FormatChecker, SchemaError
from jsonschema.exceptions import UnknownType
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from agentrun import ecma
from agentrun.api.output_schema import references

_LONGEST = 500


def check_schema(schema: dict[str, Any]) -> None:
    """
    Raise ValueError, which names the place, if a schema is invalid in its dialect.

    The schema must be within the limits of ``agentrun.api.output_schema``.
    """
    # Not the library's formats: its patterns are Python's.
    formats = FormatChecker(formats=())
    formats.checks("regex", raises=ValueError)(ecma.is_pattern)
    validator = validator_for(schema)
    try:
        validator.check_schema(schema, format_checker=formats)  # type: ignore[call-arg]
    except SchemaError as error:
        why = str(error.cause or error.message)[:_LONGEST]
        raise ValueError(f"at {error.json_path}: {why}") from error
    _try(validator, schema)
    dialect = specification_with(validator.META_SCHEMA["$schema"])
    resource = dialect.create_resource(schema)
    resolver = Registry().resolver_with_root(resource)
    for where, target in references(schema):
        try:
            resolver.lookup(target)
        except Unresolvable as error:
            raise ValueError(f"{where} does not resolve in {dialect.name}") from error


def _try(validator: Any, schema: dict[str, Any]) -> None:
    """Check some answers, so that what the library cannot do fails now, and not after the work."""
    for answer in (None, {"": None}, [None], "", 0):
        try:
            validator(schema, registry=Registry()).is_valid(answer)
        except (
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            Unresolvable,
            UnknownType,
        ) as error:
            raise ValueError(f"it cannot be applied to an answer: {error}") from error
