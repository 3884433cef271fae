"""In-memory messages of agents, for tests."""

from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime

from agentrun.store.base import FORGOTTEN, Changes, MailboxState, NewMessage, StoredMessage
from agentrun.store.message_text import check_room, encode_message, text_message
from agentrun.store.notifier import Notifier


@dataclass
class _Box:
    messages: list[StoredMessage] = field(default_factory=list)
    delivered: int = 0
    held: int = 0


class MemoryMessages:
    """A MessageStore in memory."""

    def __init__(
        self, notifier: Notifier, now: Callable[[], datetime], check: Callable[[], None]
    ) -> None:
        self._notifier = notifier
        self._now = now
        self._check = check
        self._boxes = defaultdict[str, _Box](_Box)

    async def send(self, message: NewMessage) -> StoredMessage:
        """See ``MessageStore``."""
        self._check()
        size, box = len(encode_message(message)), self._boxes[message.to_session_uid]
        for known in box.messages:
            if known.sent.message_id == message.message_id:
                return deepcopy(known)
        check_room(message, box.held, size)
        stored = StoredMessage(deepcopy(message), len(box.messages) + 1, self._now())
        box.messages.append(stored)
        box.held += size
        self._notifier.appended(message.to_session_uid, stored.seq)
        return deepcopy(stored)

    async def fetch(self, session_uid: str, after_seq: int, limit: int) -> list[StoredMessage]:
        """See ``MessageStore``."""
        self._check()
        return deepcopy(self._boxes[session_uid].messages[after_seq : after_seq + limit])

    async def mailbox(self, session_uid: str) -> MailboxState:
        """See ``MessageStore``."""
        self._check()
        box = self._boxes[session_uid]
        return MailboxState(len(box.messages), box.delivered)

    async def deliver(self, session_uid: str, seq: int) -> None:
        """See ``MessageStore``."""
        self._check()
        box = self._boxes[session_uid]
        box.delivered = max(box.delivered, min(seq, len(box.messages)))

    def forget(self, session_uid: str) -> tuple[int, int]:
        """
        Remove a mailbox, and the text of what its session has sent; return the number of each.
        """
        gone, sent = self._boxes.pop(session_uid, _Box()), 0
        for box in self._boxes.values():
            for at, one in enumerate(box.messages):
                if one.sent.from_session_uid == session_uid:
                    blank = replace(one.sent, body=text_message(FORGOTTEN), metadata=None)
                    box.messages[at] = replace(one, sent=blank)
                    sent += 1
        return len(gone.messages), sent

    def changes(self, session_uid: str, after_seq: int) -> AbstractAsyncContextManager[Changes]:
        """See ``MessageStore``."""
        return self._notifier.subscribe(session_uid, after_seq)
