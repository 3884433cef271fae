"""
Agents' messages in a SQL database.

Every sender locks the row of the mailbox first, so seqs have neither gaps nor duplicates, even with
several replicas.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, delete, exc, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agentrun.store.base import FORGOTTEN, Changes, MailboxState, NewMessage, StoredMessage
from agentrun.store.database import Database
from agentrun.store.journal import dump
from agentrun.store.message_text import check_room, decode_message, encode_message, text_message
from agentrun.store.moments import micros, moment
from agentrun.store.notifier import Notifier
from agentrun.store.tables import mailboxes, messages
from agentrun.store.transactions import Transactions

_boxes, _letters = mailboxes.c, messages.c


class SqlMessages:
    """A MessageStore in a SQL database, beside the runs."""

    def __init__(
        self,
        database: Database,
        transactions: Transactions,
        notifier: Notifier,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._transactions = transactions
        self._notifier = notifier
        self._now = now

    async def send(self, message: NewMessage) -> StoredMessage:
        """See ``MessageStore``."""
        text, uid = encode_message(message), message.to_session_uid

        async def write(connection: AsyncConnection) -> StoredMessage:
            box = await _locked(connection, uid) or await _made(connection, uid)
            if known := await _known(connection, message):
                return _read(known)
            check_room(message, box.bytes, len(text))
            stored = StoredMessage(message, box.last_seq + 1, self._now())
            await connection.execute(insert(messages).values(_columns(stored, text)))
            changed = {"last_seq": stored.seq, "bytes": box.bytes + len(text)}
            await _change(connection, uid, changed)
            await self._database.notify(connection, uid, stored.seq)
            return stored

        def wake(stored: StoredMessage) -> None:
            self._notifier.appended(uid, stored.seq)

        try:
            return await self._transactions.write(write, wake)
        except exc.IntegrityError:
            # Another replica created the mailbox first; now there is a row to lock.
            return await self._transactions.write(write, wake)

    async def fetch(self, session_uid: str, after_seq: int, limit: int) -> list[StoredMessage]:
        """See ``MessageStore``."""
        newer = select(messages).where(_letters.session_uid == session_uid)
        newer = newer.where(_letters.seq > after_seq).order_by(_letters.seq).limit(limit)
        return [_read(stored) for stored in await self._transactions.read(newer)]

    async def mailbox(self, session_uid: str) -> MailboxState:
        """See ``MessageStore``."""
        query = select(mailboxes).where(_boxes.session_uid == session_uid)
        found = await self._transactions.read(query)
        return MailboxState(found[0].last_seq, found[0].delivered_seq) if found else MailboxState()

    async def deliver(self, session_uid: str, seq: int) -> None:
        """See ``MessageStore``."""

        async def write(connection: AsyncConnection) -> None:
            box = await _locked(connection, session_uid)
            if box is not None and seq > box.delivered_seq:
                delivered = {"delivered_seq": min(seq, box.last_seq)}
                await _change(connection, session_uid, delivered)

        await self._transactions.write(write, lambda _: None)

    def changes(self, session_uid: str, after_seq: int) -> AbstractAsyncContextManager[Changes]:
        """See ``MessageStore``."""
        return self._notifier.subscribe(session_uid, after_seq)


async def forget_session(connection: AsyncConnection, uid: str) -> tuple[int, int]:
    """
    Remove a session's mailbox, and the text of what it has sent; return the number of each.

    Sent messages retain their seq, since a mailbox has no gaps.
    """
    removed = (
        await connection.execute(delete(messages).where(_letters.session_uid == uid))
    ).rowcount
    await connection.execute(delete(mailboxes).where(_boxes.session_uid == uid))
    text = dump({"body": text_message(FORGOTTEN).to_json(), "metadata": None})
    blanked = update(messages).where(_letters.from_session_uid == uid).values(body=text)
    return removed, (await connection.execute(blanked)).rowcount


async def _locked(connection: AsyncConnection, uid: str) -> Row[Any] | None:
    query = select(mailboxes).where(_boxes.session_uid == uid).with_for_update()
    return (await connection.execute(query)).one_or_none()


async def _made(connection: AsyncConnection, uid: str) -> Row[Any]:
    empty = {"session_uid": uid, "last_seq": 0, "delivered_seq": 0, "bytes": 0}
    await connection.execute(insert(mailboxes).values(empty))
    made = await _locked(connection, uid)
    assert made is not None, "this transaction has made it"
    return made


async def _known(connection: AsyncConnection, message: NewMessage) -> Row[Any] | None:
    query = select(messages).where(_letters.session_uid == message.to_session_uid)
    named = query.where(_letters.message_id == message.message_id)
    return (await connection.execute(named)).one_or_none()


async def _change(connection: AsyncConnection, uid: str, columns: dict[str, Any]) -> None:
    changed = update(mailboxes).where(_boxes.session_uid == uid).values(columns)
    await connection.execute(changed)


def _columns(stored: StoredMessage, text: str) -> dict[str, Any]:
    sent = stored.sent
    return {
        "session_uid": sent.to_session_uid,
        "seq": stored.seq,
        "message_id": sent.message_id,
        "to_agent": sent.to_agent_name,
        "from_session_uid": sent.from_session_uid,
        "from_agent": sent.from_agent_name,
        "created": micros(stored.created_at),
        "body": text,
    }


def _read(row: Row[Any]) -> StoredMessage:
    body, metadata = decode_message(row.body)
    sent = NewMessage(
        message_id=row.message_id,
        to_session_uid=row.session_uid,
        to_agent_name=row.to_agent,
        body=body,
        from_session_uid=row.from_session_uid,
        from_agent_name=row.from_agent,
        metadata=metadata,
    )
    return StoredMessage(sent, row.seq, moment(row.created) or datetime.now(UTC))
