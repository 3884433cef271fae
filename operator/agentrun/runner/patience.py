"""Asking the gateway again while it is away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agentrun.runner.gateway import Unavailable

_PAUSE = 0.5

T = TypeVar("T")


async def patiently(ask: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Ask until there is an answer. Unavailable, as it was last, after so many seconds."""
    last: Unavailable | None = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await ask()
                except Unavailable as error:
                    last = error
                    await asyncio.sleep(_PAUSE)
    except TimeoutError as error:
        raise last or Unavailable(f"there was no answer within {seconds:.0f} s") from error
