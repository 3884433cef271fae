"""
A program that checks one JSON Schema against its dialect.

It reads the schema from stdin and writes the error to stdout, nothing if the schema is valid. It
may be killed at any time.
"""

import json
import os
import sys
from typing import Any


def check_schema(schema: dict[str, Any]) -> None:
    """Raise SchemaError if a schema is invalid in its dialect; patterns are ECMA-262."""
    from jsonschema import FormatChecker
    from jsonschema.validators import validator_for

    from agentrun import ecma

    # Not the library's formats: its patterns are Python's.
    formats = FormatChecker(formats=())
    formats.checks("regex", raises=ValueError)(ecma.is_pattern)
    validator_for(schema).check_schema(schema, format_checker=formats)  # type: ignore[call-arg]


def main() -> None:
    """Check the schema on stdin."""
    # Processes that people wait for have priority.
    os.nice(10)
    from jsonschema import SchemaError

    schema = json.load(sys.stdin)
    try:
        check_schema(schema)
    except SchemaError as error:
        sys.stdout.write(error.message[:500])


if __name__ == "__main__":
    main()
