"""
Following a remote task across lost connections.

An interrupted stream is subscribed to again, and an agent that does not stream is polled. In both
cases the task's state at the remote agent is authoritative. A cancelled run cancels the task.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from agentrun.api.events import EventType
from agentrun.api.v1alpha1 import Reason
from agentrun.backoff import Backoff
from agentrun.runner.a2a.client import Remote
from agentrun.runner.a2a.errors import RemoteError
from agentrun.runner.a2a.mapping import FINAL, WAITING, TaskMapper
from agentrun.runner.gateway import Gateway, GatewayError
from agentrun.runner.journal.journal import Journal
from agentrun.runner.outcome import AttemptError

_PAUSES = (0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)
PATIENCE_SECONDS = 60.0
"""The timeout for an unreachable remote agent while its task is in progress."""

log = logging.getLogger(__name__)


class RetryBudget:
    """Retries with growing delays, up to PATIENCE_SECONDS without a success."""

    def __init__(self) -> None:
        self._backoff = Backoff(_PAUSES)
        self._failing_since: float | None = None

    def worked(self) -> None:
        """Record that a request succeeded."""
        self._failing_since = None

    def failed(self, error: RemoteError, what: str) -> None:
        """
        Record that a request failed. Raises AttemptError if a retry cannot help or time is up.
        """
        now = asyncio.get_running_loop().time()
        since = self._failing_since = self._failing_since or now
        log.warning("%s: %s", what, error)
        if error.is_final or now - since > PATIENCE_SECONDS:
            raise error.as_attempt_error(what) from error

    async def pause(self) -> None:
        """Wait before the next retry."""
        await self._backoff.wait()


class TaskFollower:
    """Sends messages to a remote agent, and follows the resulting task."""

    def __init__(
        self,
        remote: Remote,
        mapper: TaskMapper,
        on_task: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self._remote = remote
        self._mapper = mapper
        self._on_task = on_task
        self._has_event = False

    async def turn(self, message: dict[str, Any]) -> None:
        """Send a message, and follow the task until it is settled."""
        await self._send(message)
        await self.watch()

    async def watch(self) -> None:
        """Follow the task until it is settled. Raises AttemptError if it cannot be followed."""
        patience = RetryBudget()
        while not self._mapper.is_settled:
            task = self._mapper.task_id
            if task is None:
                message = "The remote agent ended its answer without a message or a task."
                raise AttemptError(Reason.PROTOCOL_ERROR, message)
            try:
                await self._receive(await self._remote.get(task))
            except RemoteError as error:
                patience.failed(error, f"Remote task {task} cannot be followed")
            else:
                patience.worked()
                await self._subscribe(task)
            if not self._mapper.is_settled:
                await patience.pause()

    async def _send(self, message: dict[str, Any]) -> None:
        """Send a message with retries, but not again once the agent may have accepted it."""
        patience = RetryBudget()
        while True:
            self._has_event = False
            try:
                await self._follow(self._remote.send(message))
                return
            except RemoteError as error:
                if self._has_event:
                    log.warning("The stream broke off: %s", error)
                    return
                is_new = self._mapper.task_id is None
                if is_new and error.was_sent:
                    raise error.as_attempt_error(
                        "The remote agent did not accept the task"
                    ) from error
                patience.failed(error, "The remote agent does not accept the message")
                if error.was_sent and await self._is_taken():
                    return
            await patience.pause()

    async def _is_taken(self) -> bool:
        """Whether the task has resumed with a message whose response was lost."""
        try:
            await self._receive(await self._remote.get(self._mapper.task_id or ""))
        except RemoteError as error:
            log.warning("The remote task cannot be read: %s", error)
            return False
        if self._mapper.state not in WAITING:
            return True
        self._mapper.begin_turn(new_task=False)
        return False

    async def _subscribe(self, task: str) -> None:
        """Subscribe to the stream again, if the agent supports streaming."""
        if not self._remote.is_streaming or self._mapper.is_settled:
            return
        try:
            await self._follow(self._remote.subscribe(task))
        except RemoteError as error:
            log.warning("The stream of remote task %s: %s", task, error)

    async def _follow(self, events: AsyncIterator[dict[str, Any]]) -> None:
        async with aclosing(events) as stream:  # type: ignore[type-var]
            async for event in stream:
                await self._receive(event)
                if self._mapper.is_settled:
                    return

    async def _receive(self, event: dict[str, Any]) -> None:
        self._has_event = True
        await self._on_task(event)


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
        self.message = "The runner was asked to stop."
        """What became of the task, for the run's final message."""

    @property
    def _name(self) -> str:
        return f"Remote task {self._mapper.task_id} of {self._mapper.agent_url}"

    def keep_waiting_task(self) -> None:
        """Record that the task still waits for an answer."""
        self.message = f"{self._name} is still waiting for input."

    async def cancel(self, remote: Remote, known: int) -> None:
        """Cancel the task, unless it waits for input and the run stays active without a pod."""
        is_waiting = self._mapper.state in WAITING
        if self._mapper.is_settled and not is_waiting:
            return
        if is_waiting and await _is_wanted(self._gateway, known):
            self.keep_waiting_task()
            return
        if self._mapper.task_id is None:
            self.message = (
                "The remote agent received the task, but did not return its id: it may still be"
                " working."
            )
            async with asyncio.timeout(_ID_SECONDS):
                await self.named.wait()
        self.message = f"{self._name} did not confirm the cancellation: it may still be working."
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                drafts = self._mapper.feed(await remote.cancel(self._mapper.task_id or ""))
        except (RemoteError, TimeoutError) as error:
            why = str(error) or f"no answer within {_CANCEL_SECONDS} s"
            self.message = f"{self._name} could not be cancelled: {why}. It may still be working."
            self._journal.add(EventType.REASONING, {"text": self.message})
            return
        for kind, data in drafts:
            self._journal.add(kind, data)
        if self._mapper.state in FINAL:
            self.message = f"{self._name} is {self._mapper.state}."


async def _is_wanted(gateway: Gateway, known: int) -> bool:
    """Whether the run stays active and only the pod ends; False if the gateway does not answer."""
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            answer = await gateway.inputs(known, _NEWS_MS)
    except (GatewayError, TimeoutError):
        return False
    return answer.desired_state == "Active"
