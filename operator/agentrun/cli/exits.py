"""
The exit codes of the commands.

A script can read from them how a run ended, without parsing any output.
"""

from agentrun.api.status import Status

OK = 0
"""The command succeeded; a run that it waited for has completed."""
FAILED = 5
"""The run failed or was rejected."""
CANCELLED = 6
"""The run was cancelled."""
NEEDS_INPUT = 7
"""The run waits for input or for credentials. It was not changed."""
PROBLEM = 8
"""Any other problem: no such run, no connection, timeout."""
INTERRUPTED = 130
"""Ctrl-C, by the shell's convention. The run continues."""

_OF_STATUS: dict[str, int] = {
    Status.COMPLETED: OK,
    Status.FAILED: FAILED,
    Status.REJECTED: FAILED,
    Status.CANCELLED: CANCELLED,
    Status.INPUT_REQUIRED: NEEDS_INPUT,
    Status.AUTH_REQUIRED: NEEDS_INPUT,
}


def of_status(status: str) -> int:
    """Return the exit code for a run's status; OK for any status that is not listed."""
    return _OF_STATUS.get(status, OK)
