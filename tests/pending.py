"""What asyncio tasks wait for, which the stack of a thread does not show."""

import asyncio
import gc
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

_FRAMES = 12
"""How many frames of a task are shown, from the innermost."""


def tasks() -> str:
    """Describe where each unfinished task of the process waits."""
    found = [one for one in gc.get_objects() if isinstance(one, asyncio.Task) and not one.done()]
    return "\n".join(_told(task) for task in found) or "none"


def _told(task: "asyncio.Task[Any]") -> str:
    frames = list(_frames(task.get_coro()))[-_FRAMES:]
    lines = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames).format()
    return f"{task.get_name()}:\n{''.join(lines)}"


def _frames(awaited: Any) -> Iterator[FrameType]:
    """Follow the chain of awaits, from a task's coroutine to the future at its end."""
    while awaited is not None:
        for kind in ("cr", "ag", "gi"):
            if isinstance(frame := getattr(awaited, f"{kind}_frame", None), FrameType):
                yield frame
                awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
                break
        else:
            return
