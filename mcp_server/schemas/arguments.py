"""
Checks of arguments that several tools take.

Error messages are read by models, so they say what to do instead. The functions are pure.
"""

import posixpath
from typing import Any

from agentrun.api.bounded_json import ASKED, fault_of
from agentrun.api.messages import AgentMessage, MessagePart
from agentrun.api.pod_layout import WORKSPACE
from agentrun.api.v1alpha1 import AgentRun


class InvalidArgumentsError(ValueError):
    """The arguments are invalid. The message says what to do instead."""


def check_bounds(value: Any, what: str) -> None:
    """
    Raise InvalidArgumentsError if a value is too deep or too large, or cannot be stored.

    ``what`` names the value in the message.
    """
    if why := fault_of(value, what, ASKED):
        raise InvalidArgumentsError(f"{why} Correct it and call again.")


def check_message(message: AgentMessage, field: str = "input_message") -> None:
    """
    Raise InvalidArgumentsError for a message that is empty, too large or has an incomplete part.

    ``field`` names the message in the error.
    """
    check_bounds(message, field)
    for index, part in enumerate(message.parts):
        if not _is_complete(part):
            raise InvalidArgumentsError(
                f"{field}.parts[{index}] is of type {part.type} but has no {part.type}"
            )
    if all(part.type == "text" and not (part.text or "").strip() for part in message.parts):
        raise InvalidArgumentsError(f"{field} is empty: add a part with text or data.")


def _is_complete(part: MessagePart) -> bool:
    if part.type == "text":
        return bool(part.text)
    return part.type != "data" or part.data is not None


def absolute_cwd(cwd: str | None) -> str:
    """
    Return ``cwd`` as an absolute path in the workspace.

    Raises InvalidArgumentsError if it is outside the workspace.
    """
    check_bounds(cwd, "cwd")
    path = posixpath.normpath(posixpath.join(WORKSPACE, (cwd or "").strip()))
    if path != WORKSPACE and not path.startswith(WORKSPACE + "/"):
        raise InvalidArgumentsError(
            f"cwd must be inside the run's workspace: {cwd}. Give a path relative to the"
            f" workspace, or an absolute one below {WORKSPACE}, or leave it out."
        )
    return path


def folder_of(run: AgentRun) -> str:
    """Return the working directory of a run."""
    return folder_named(run.cwd)


def folder_named(cwd: str | None) -> str:
    """Return the working directory for a run's ``cwd``; an invalid one is returned unchanged."""
    try:
        return absolute_cwd(cwd)
    except InvalidArgumentsError:
        # Set with kubectl. The runner rejects it, but the run must be shown, and must not hide
        # other runs.
        return cwd or WORKSPACE
