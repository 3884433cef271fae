"""Reads mailboxes, with little more in memory than fits into one response."""

from agentrun.store.base import MessageStore, StoredMessage
from agentrun.store.message_text import encode_message

_FIRST, _MOST = 8, 64


async def read_mail(
    messages: MessageStore, session_uid: str, after_seq: int, limit: int, enough: int
) -> list[StoredMessage]:
    """
    Return up to ``limit`` messages after ``after_seq``; fewer, if those take ``enough`` bytes.

    Messages are read in small batches: a thousand of the largest would exhaust the memory.
    """
    found, size, batch = list[StoredMessage](), 0, _FIRST
    while len(found) < limit and size < enough:
        after = found[-1].seq if found else after_seq
        wanted = min(batch, limit - len(found))
        more = await messages.fetch(session_uid, after, wanted)
        found += more
        if len(more) < wanted:
            break
        size += sum(len(encode_message(one.sent)) for one in more)
        batch = min(2 * batch, _MOST)
    return found
