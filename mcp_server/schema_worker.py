"""
Checking one JSON Schema against its dialect, as a program of its own.

It reads the schema from stdin and writes what is wrong with it to stdout, nothing if it is right.
Whoever starts it may end it at any moment.
"""

import json
import os
import sys
from typing import Any


def check_schema(schema: dict[str, Any]) -> None:
    """Raise SchemaError for what is no schema of its dialect; its patterns are ECMA-262's."""
    from jsonschema import FormatChecker
    from jsonschema.validators import validator_for

    from agentrun import ecma

    # Not those of the library: it has Python's patterns.
    formats = FormatChecker(formats=())
    formats.checks("regex", raises=ValueError)(ecma.is_pattern)
    validator_for(schema).check_schema(schema, format_checker=formats)  # type: ignore[call-arg]


def main() -> None:
    """Check the schema on stdin."""
    # Others are waited for by people.
    os.nice(10)
    from jsonschema import SchemaError

    schema = json.load(sys.stdin)
    try:
        check_schema(schema)
    except SchemaError as error:
        sys.stdout.write(error.message[:500])


if __name__ == "__main__":
    main()
