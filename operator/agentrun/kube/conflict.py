"""Requests that another change has overtaken (optimistic concurrency)."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agentrun.kube.errors import ApiError

T = TypeVar("T")


async def retry_on_conflict(
    update: Callable[[], Awaitable[T]],
    tries: int,
    is_conflict: Callable[[ApiError], bool] = lambda error: error.is_stale,
    pause: float = 0,
) -> T:
    """
    Return the result of ``update``, which reads an object and writes it, or creates one.

    ``update`` is called again if the object was changed or deleted between its read and its write:
    at once or, if many clients change the same object, after ``pause`` seconds at most, which
    double with each call. Raises the last error after ``tries`` calls, and every other error
    immediately.
    """
    for attempt in range(tries - 1):
        try:
            return await update()
        except ApiError as error:
            if not is_conflict(error):
                raise
        if pause:
            await asyncio.sleep(pause * 2**attempt * random.uniform(0.5, 1))
    return await update()
