"""Saying how a program ended."""

import signal


def describe_exit(code: int | None) -> str:
    """Say what an exit code means: codes above 128 are those of programs that a signal ended."""
    if code is None:
        return "no exit code"
    if code <= 128:
        return f"exit code {code}"
    try:
        return f"exit code {code}, killed by {signal.Signals(code - 128).name}"
    except ValueError:
        return f"exit code {code}"
