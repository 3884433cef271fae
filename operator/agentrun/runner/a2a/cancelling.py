"""Cancellation of a remote task, with a report of whether it succeeded."""

import asyncio

from agentrun.api.events import EventType
from agentrun.runner.a2a.client import Remote
from agentrun.runner.a2a.errors import RemoteError
from agentrun.runner.a2a.mapping import FINAL, WAITING, TaskMapper
from agentrun.runner.gateway import Gateway, GatewayError
from agentrun.runner.journal.journal import Journal

_ID_SECONDS = 2.0
_CANCEL_SECONDS = 2.5
_ASK_SECONDS = 2.2
_NEWS_MS = 700
"""The MCP server may be notified of a cancellation later than the pod."""


class Canceller:
    """Cancels the task that a mapper follows."""

    def __init__(self, gateway: Gateway, journal: Journal, mapper: TaskMapper) -> None:
        self._gateway = gateway
        self._journal = journal
        self._mapper = mapper
        self.named = asyncio.Event()
        """Set once the agent has sent the task's id."""
        self.words = "The runner was told to stop."
        """What became of the task, for the run's final message."""

    @property
    def _name(self) -> str:
        return f"Remote task {self._mapper.task_id} of {self._mapper.agent_url}"

    def keep_waiting_task(self) -> None:
        """Record that the task still waits for an answer."""
        self.words = f"{self._name} is still waiting for input."

    async def cancel(self, remote: Remote, known: int) -> None:
        """Cancel the task, unless it waits for input and the run stays active without a pod."""
        is_waiting = self._mapper.state in WAITING
        if self._mapper.is_settled and not is_waiting:
            return
        if is_waiting and await _is_wanted(self._gateway, known):
            self.keep_waiting_task()
            return
        if self._mapper.task_id is None:
            self.words = (
                "The remote agent received the task, but did not return its id: it may still be"
                " working."
            )
            async with asyncio.timeout(_ID_SECONDS):
                await self.named.wait()
        self.words = f"{self._name} did not confirm the cancellation: it may still be working."
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                drafts = self._mapper.feed(await remote.cancel(self._mapper.task_id or ""))
        except (RemoteError, TimeoutError) as error:
            why = str(error) or f"no answer within {_CANCEL_SECONDS} s"
            self.words = f"{self._name} could not be cancelled: {why}. It may still be working."
            self._journal.add(EventType.REASONING, {"text": self.words})
            return
        for kind, data in drafts:
            self._journal.add(kind, data)
        if self._mapper.state in FINAL:
            self.words = f"{self._name} is {self._mapper.state}."


async def _is_wanted(gateway: Gateway, known: int) -> bool:
    """Whether the run stays active and only the pod ends; False if the gateway does not answer."""
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            answer = await gateway.inputs(known, _NEWS_MS)
    except (GatewayError, TimeoutError):
        return False
    return answer.desired_state == "Active"
