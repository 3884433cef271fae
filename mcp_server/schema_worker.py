"""
Checking one JSON Schema against its dialect, as a program of its own.

It reads the schema from stdin and writes what is wrong with it to stdout, nothing if it is right.
Whoever starts it may end it at any moment.
"""

import json
import os
import sys


def main() -> None:
    """Check the schema on stdin."""
    # Others are waited for by people.
    os.nice(10)
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    schema = json.load(sys.stdin)
    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        sys.stdout.write(error.message[:500])


if __name__ == "__main__":
    main()
