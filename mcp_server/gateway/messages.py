"""
Delivers messages for an agent to its runner.

The mailbox belongs to the run's session. Its delivered position is stored with it, so that later
attempts and runs do not deliver a message again that is already in the conversation.
"""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentrun.api.gateway import Delivered, MailboxMessage, Messages
from agentrun.store.base import MessageStore, StoredMessage
from mcp_server.gateway.problems import RequestError, answer
from mcp_server.gateway.requests import read_model, read_number
from mcp_server.gateway.runner_identity import RunnerAuthenticator, RunnerIdentity
from mcp_server.schemas.run_views import timestamp
from mcp_server.tools.mailboxes import read_mail
from mcp_server.tools.waiting import read_until

MAX_WAIT_MS = 30_000
"""The maximum time that a request for messages waits, in milliseconds."""
MAX_ANSWER_BYTES = 512 * 1024
"""The approximate maximum size of a response: the runner holds it in memory."""

_MAX_SEQ = 10**12 - 1
_MAX_BODY = 4096
_MOST = 100


class Mailboxes:
    """The request handlers for messages."""

    def __init__(
        self, messages: MessageStore, runners: RunnerAuthenticator, closing: asyncio.Event
    ) -> None:
        self._messages = messages
        self._runners = runners
        self._closing = closing

    @property
    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/v1/messages", self.fetch, methods=["GET"]),
            Route("/v1/delivered", self.deliver, methods=["POST"]),
        ]

    async def fetch(self, request: Request) -> Response:
        """Wait for messages."""
        runner = await self._runners.identify_writer(request)
        after = read_number(request, "after", _MAX_SEQ)
        seconds = read_number(request, "wait_ms", MAX_WAIT_MS) / 1000
        uid = _session_of(runner)
        found = await read_until(
            lambda found: bool(found.messages),
            lambda: self._look(uid, after),
            self._messages.changes(uid, after),
            seconds,
            self._closing,
        )
        return answer(found)

    async def deliver(self, request: Request) -> Response:
        """Record the number of the last message that was delivered to the agent."""
        runner = await self._runners.identify_writer(request)
        reported = await read_model(request, Delivered, _MAX_BODY)
        uid = _session_of(runner)
        await self._messages.deliver(uid, reported.seq)
        box = await self._messages.mailbox(uid)
        return answer(Messages(delivered_seq=box.delivered_seq))

    async def _look(self, uid: str, after: int) -> Messages:
        delivered = (await self._messages.mailbox(uid)).delivered_seq
        after = max(after, delivered)
        stored = await read_mail(self._messages, uid, after, _MOST, MAX_ANSWER_BYTES)
        mail, size = list[MailboxMessage](), 0
        for one in map(mail_of, stored):
            size += len(one.model_dump_json())
            if mail and size > MAX_ANSWER_BYTES:
                break
            mail.append(one)
        return Messages(messages=mail, delivered_seq=delivered)


def mail_of(stored: StoredMessage) -> MailboxMessage:
    """Convert a message for the recipient's runner."""
    sent = stored.sent
    return MailboxMessage(
        message_id=sent.message_id,
        seq=stored.seq,
        body=sent.body,
        created_at=timestamp(stored.created_at) or "",
        from_agent_name=sent.from_agent_name,
        from_session_id=sent.from_session_uid,
        metadata=sent.metadata,
    )


def _session_of(runner: RunnerIdentity) -> str:
    if not runner.row.session_uid:
        name = runner.run.metadata.name
        raise RequestError("unavailable", f"The session of run {name} is not known yet. Try again.")
    return runner.row.session_uid
