"""
What the exit code of a command says.

A script can tell from it how a run ended without reading anything.
"""

OK = 0
"""The command did its work; a run that it waited for is completed."""
USAGE = 2
"""The command was called wrongly."""
FAILED = 5
"""The run failed or was rejected."""
CANCELLED = 6
"""The run was cancelled."""
NEEDS_INPUT = 7
"""The run waits for an answer or for credentials; it has not been touched."""
PROBLEM = 8
"""Anything else: no such run, no connection, time is up."""
INTERRUPTED = 130
"""Ctrl-C, as a shell counts it. The run goes on."""

TERMINAL = frozenset({"completed", "failed", "cancelled", "rejected"})
WAITING = frozenset({"input_required", "auth_required"})

_OF_STATUS = {
    "completed": OK,
    "failed": FAILED,
    "rejected": FAILED,
    "cancelled": CANCELLED,
    "input_required": NEEDS_INPUT,
    "auth_required": NEEDS_INPUT,
}


def of_status(status: str) -> int:
    """Return the exit code for a run that a command has waited for."""
    return _OF_STATUS.get(status, OK)
