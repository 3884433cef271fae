"""
A program that checks one JSON Schema against its dialect.

It reads the schema from stdin and writes the error to stdout, nothing if the schema is valid. It
may be killed at any time.
"""

import json
import os
import sys


def main() -> None:
    """Check the schema on stdin."""
    # Processes that people wait for have priority.
    os.nice(10)
    from agentrun import ecma
    from agentrun.json_schema import check_schema

    ecma.use()
    schema = json.load(sys.stdin)
    try:
        check_schema(schema)
    except ValueError as error:
        sys.stdout.write(str(error))


if __name__ == "__main__":
    main()
