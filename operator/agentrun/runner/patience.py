"""Retries of requests while the gateway is unavailable."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agentrun.runner.gateway import GatewayUnavailableError

_PAUSE = 0.5

T = TypeVar("T")


async def patiently(ask: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Retry until there is an answer. Raises the last GatewayUnavailableError after ``seconds``."""
    last: GatewayUnavailableError | None = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await ask()
                except GatewayUnavailableError as error:
                    last = error
                    await asyncio.sleep(_PAUSE)
    except TimeoutError as error:
        raise last or GatewayUnavailableError(
            f"there was no answer within {seconds:.0f} s"
        ) from error
