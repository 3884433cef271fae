"""Updates that are based on an object as it was read (optimistic concurrency)."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from agentrun.kube.errors import ApiError

T = TypeVar("T")


async def retry_on_conflict(
    update: Callable[[], Awaitable[T]],
    tries: int,
    is_conflict: Callable[[ApiError], bool] = lambda error: error.is_stale,
) -> T:
    """
    Return the result of ``update``, which reads an object and writes it.

    ``update`` is called again, at once, if the object was changed or deleted between its read and
    its write. Raises the last error after ``tries`` calls, and every other error immediately.
    """
    for _ in range(tries - 1):
        try:
            return await update()
        except ApiError as error:
            if not is_conflict(error):
                raise
    return await update()
