"""Reports the agent's status to the gateway: only changes, and only the latest status."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from agentrun.api.v1alpha1 import AgentStatus
from agentrun.runner.gateway import (
    Gateway,
    GatewayConflictError,
    GatewayRefusedError,
    retry_while_unavailable,
)

_SOON_SECONDS = 10.0

log = logging.getLogger(__name__)


class StatusReporter:
    """Holds the agent's status, and posts all of it when it changes."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._status = AgentStatus()
        self._posted = AgentStatus()
        self._changed = asyncio.Condition()

    async def update(self, **fields: Any) -> None:
        """Change fields of the status."""
        async with self._changed:
            self._status = self._status.model_copy(update=fields)
            self._changed.notify_all()

    async def settled(self) -> None:
        """Wait until the gateway has the latest status."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._posted == self._status)

    async def settled_soon(self) -> None:
        """Wait for that, up to a timeout; ``run`` retries while the gateway is unavailable."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SOON_SECONDS):
                await self.settled()

    async def run(self) -> None:
        """Post changes of the status; does not return."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._posted != self._status)
            posted = await retry_while_unavailable(self._post)
            async with self._changed:
                self._posted = posted
                self._changed.notify_all()

    async def _post(self) -> AgentStatus:
        status = self._status
        try:
            await self._gateway.state(status)
        except (GatewayRefusedError, GatewayConflictError) as error:
            log.error("The gateway refused the agent's state: %s", error)
        return status
