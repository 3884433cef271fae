"""Telling the gateway how the agent is: on change only, and only ever the newest."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from agentrun.api.v1alpha1 import AgentStatus
from agentrun.runner.gateway import (
    Gateway,
    GatewayConflictError,
    GatewayRefusedError,
    GatewayUnavailableError,
)

_PAUSE = 1.0
_SOON_SECONDS = 10.0

log = logging.getLogger(__name__)


class StatusReporter:
    """Holds the state of the agent, and posts the whole of it when it changes."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._status = AgentStatus()
        self._posted = AgentStatus()
        self._changed = asyncio.Condition()

    async def update(self, **fields: Any) -> None:
        """Change some of the state."""
        async with self._changed:
            self._status = self._status.model_copy(update=fields)
            self._changed.notify_all()

    async def settled(self) -> None:
        """Wait until the gateway knows the newest state."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._posted == self._status)

    async def settled_soon(self) -> None:
        """Wait for that, but not for long: if the gateway is away, ``run`` goes on trying."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SOON_SECONDS):
                await self.settled()

    async def run(self) -> None:
        """Post what changes, for ever."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._posted != self._status)
                status = self._status
            try:
                await self._gateway.state(status)
            except GatewayUnavailableError:
                await asyncio.sleep(_PAUSE)
                continue
            except (GatewayRefusedError, GatewayConflictError) as error:
                log.error("The gateway refused the agent's state: %s", error)
            async with self._changed:
                self._posted = status
                self._changed.notify_all()
