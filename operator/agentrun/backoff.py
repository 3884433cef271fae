"""
Retries with backoff: the pauses between the tries of what fails, such as requests in an outage.

Only asyncio is imported, since the runner must start fast.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Backoff:
    """A sequence of pauses in seconds, whose last one repeats."""

    def __init__(self, pauses: Sequence[float]) -> None:
        self._pauses = pauses
        self._taken = 0

    def next(self) -> float:
        """Return the pause before the next try."""
        pause = self._pauses[min(self._taken, len(self._pauses) - 1)]
        self._taken += 1
        return pause

    def reset(self) -> None:
        """Start over with the first pause: a try has succeeded."""
        self._taken = 0

    async def wait(self) -> None:
        """Sleep until the next try."""
        await asyncio.sleep(self.next())


async def retry(
    call: Callable[[], Awaitable[T]],
    pauses: Sequence[float],
    is_transient: Callable[[Exception], bool],
    *,
    seconds: float | None = None,
    note: Callable[[Exception], None] | None = None,
) -> T:
    """
    Return the result of ``call``, which is repeated while it fails with a transient error.

    ``note`` is called with each transient error; every other error is raised. After ``seconds`` the
    call in progress is cancelled, and the last transient error is raised; TimeoutError if there was
    none.
    """
    backoff = Backoff(pauses)
    last: Exception | None = None
    try:
        async with asyncio.timeout(seconds) as limit:
            while True:
                try:
                    return await call()
                except Exception as error:
                    if not is_transient(error):
                        raise
                    last = error
                if note:
                    note(last)
                await backoff.wait()
    except TimeoutError as error:
        if last is None or not limit.expired():
            raise
        raise last from error
