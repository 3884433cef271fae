"""
Delivery of messages from other agents to this one.

Messages start turns of their own after the agent's turn, or are sent into the turn in progress.
The newest message that the conversation contains is stored with its snapshot, and reported only
then: an attempt that ends before leaves them to the next one, whose conversation does not have
them.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Literal, Protocol

from agentrun.api.events import EventType
from agentrun.api.gateway import MailboxMessage, Messages
from agentrun.api.messages import render_text
from agentrun.api.v1alpha1 import OutcomeState
from agentrun.backoff import Backoff
from agentrun.runner.gateway import Gateway, GatewayError, retry_while_unavailable
from agentrun.runner.journal.journal import Journal
from agentrun.runner.outcome import End

Delivery = Literal["Pull", "BetweenTurns", "Steer"]

MAX_TURNS = 20
"""The most turns that messages may start in one attempt: two agents could continue forever."""
_WAIT_MS = 20_000
_PATIENCE_SECONDS = 10.0
_STEER_PAUSES = (0.2, 0.5)
_LAST_WORD_SECONDS = 2.0

log = logging.getLogger(__name__)


class Steerable(Protocol):
    """The part of an agent that the mailbox uses."""

    @property
    def can_steer(self) -> bool:
        """Whether the agent takes a text into its turn."""

    async def steer(self, text: str) -> bool:
        """Send a text into the turn in progress. False if the agent did not take it."""


class Mailbox:
    """The messages for the agent. Before ``open`` there are none."""

    def __init__(self, agent: Steerable, journal: Journal, gateway: Gateway) -> None:
        self._agent = agent
        self._journal = journal
        self._gateway = gateway
        self._delivery: Delivery = "Pull"
        self.delivered = 0
        """The seq of the newest message that the conversation contains."""
        self._taken = 0
        """The seq of the newest message that was taken out of the mailbox, to be delivered next."""
        self._turns = 0
        self._handing_over = asyncio.Lock()

    def open(self, delivery: Delivery, known: int = 0) -> None:
        """Deliver messages after ``known`` from now on, in the profile's delivery mode."""
        self._delivery = delivery
        self.delivered = self._taken = known

    async def next_turn(self, end: End) -> str | None:
        """
        Return the agent's next prompt, after a turn that ended with ``end``.

        None if there are no messages, or if messages have started too many turns.
        """
        if self._delivery == "Pull" or end.state is not OutcomeState.COMPLETED:
            return None
        mail = await self._poll()
        if not mail:
            return None
        if self._turns >= MAX_TURNS:
            text = f"Messages have started {MAX_TURNS} turns; the others stay in the mailbox."
            self._journal.add(EventType.REASONING, {"text": text})
            return None
        self._turns += 1
        for one in mail:
            self._note(one, "between_turns")
        return "\n\n".join(render(one) for one in mail)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Deliver messages during the block, in which a prompt turn is in progress."""
        self.delivered = self._taken
        steering = None
        if self._delivery == "Steer" and self._agent.can_steer:
            steering = asyncio.create_task(self._steer())
        try:
            yield
        finally:
            if steering:
                await self._stop(steering)

    def note_read(self, seq: int) -> None:
        """Record that the agent itself has read all messages up to ``seq``."""
        self.delivered = max(self.delivered, seq)
        self._taken = max(self._taken, seq)

    async def _steer(self) -> None:
        while True:
            mail = (await self._ask(_WAIT_MS)).messages
            for one in mail:
                await self._inject(one)
            if self._delivery == "Pull":
                return

    async def _inject(self, mail: MailboxMessage) -> None:
        backoff = Backoff(_STEER_PAUSES)
        while True:
            async with self._handing_over:
                if await self._agent.steer(render(mail)):
                    self._note(mail, "steered")
                    self.delivered = self._taken
                    return
            # The turn has not begun, or takes no text now; the end of the turn cancels this.
            await backoff.wait()

    async def _stop(self, steering: "asyncio.Task[None]") -> None:
        """Stop between two messages: for one in progress, its delivery must be known."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_SECONDS), self._handing_over:
                steering.cancel()
        steering.cancel()
        (ended,) = await asyncio.gather(steering, return_exceptions=True)
        if isinstance(ended, Exception):
            log.error("Messages can no longer be put into turns", exc_info=ended)

    async def _poll(self) -> Sequence[MailboxMessage]:
        """Return the available messages; none if the gateway stays unavailable."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return (await self._ask(0)).messages
        except TimeoutError:
            log.warning("The gateway is unavailable: new messages wait for the session's next run.")
            return []

    async def _ask(self, wait_ms: int) -> Messages:
        """Fetch messages; retry while the gateway is unavailable."""
        try:
            return await retry_while_unavailable(
                lambda: self._gateway.messages(self._taken, wait_ms)
            )
        except GatewayError as error:
            # An older gateway has none; a finished run is detected by other requests.
            log.info("No messages are delivered: %s", error)
            self._delivery = "Pull"
            return Messages()

    def _note(self, mail: MailboxMessage, how: str) -> None:
        self._taken = max(self._taken, mail.seq)
        data = {
            "message": mail.body.to_json(),
            "role": mail.body.role,
            "text": render_text(mail.body),
            "from_agent_name": mail.from_agent_name,
            "seq": mail.seq,
            "message_id": mail.message_id,
            "delivery": how,
        }
        self._journal.add(EventType.MESSAGE_ADDED, data)


def render(mail: MailboxMessage) -> str:
    """Render a message for the agent: its sender, then its text."""
    sender = f"agent {mail.from_agent_name}" if mail.from_agent_name else "an unnamed sender"
    head = f"Message {mail.seq} from {sender} (message_id {mail.message_id}):"
    return f"{head}\n\n{render_text(mail.body)}"
