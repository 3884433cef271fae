"""Descriptions of process exit codes."""

import signal


def describe_exit(code: int | None) -> str:
    """Describe an exit code; a code above 128 means that a signal killed the program."""
    if code is None:
        return "no exit code"
    if code <= 128:
        return f"exit code {code}"
    try:
        return f"exit code {code}, killed by {signal.Signals(code - 128).name}"
    except ValueError:
        return f"exit code {code}"
