"""
Writing messages as text for a database, and reading them.

Pure: the SQL store and the fake share it, so that both take the same messages.
"""

from typing import Any

from agentrun.api.messages import AgentMessage, MessagePart
from agentrun.store.base import (
    MAX_MAILBOX_BYTES,
    MAX_MESSAGE_BYTES,
    MailboxFullError,
    NewMessage,
    TooLargeError,
)
from agentrun.store.documents import read_data
from agentrun.store.journal import dump

_REASON_CHARS = 500


def encode_message(message: NewMessage) -> str:
    """Write a message's body and metadata as JSON. TooLarge if it is."""
    text = dump({"body": message.body.to_json(), "metadata": message.metadata})
    if len(text) > MAX_MESSAGE_BYTES:
        raise TooLargeError(
            f"The message is {len(text)} bytes of JSON, more than {MAX_MESSAGE_BYTES}. Put what is"
            " large into a file, a git branch or an artifact, and send where it is."
        )
    return text


def decode_message(text: str) -> tuple[AgentMessage, dict[str, Any] | None]:
    """Read what ``encode_message`` wrote; of what cannot be read, the reason."""
    try:
        found = read_data(text)
        return AgentMessage.model_validate(found["body"]), found["metadata"]
    except (ValueError, TypeError, KeyError) as error:
        # It must not hide the messages after it.
        return words(f"[This message cannot be read: {error}]"[:_REASON_CHARS]), None


def words(text: str) -> AgentMessage:
    """Make a message that says just that."""
    return AgentMessage(role="system", parts=[MessagePart(type="text", text=text)])


def check_room(message: NewMessage, held: int, size: int) -> None:
    """Raise MailboxFull where so many bytes more are too many."""
    if held + size > MAX_MAILBOX_BYTES:
        raise MailboxFullError(
            f"The mailbox of {message.to_agent_name} is full: it holds {held} of"
            f" {MAX_MAILBOX_BYTES} bytes. Start another agent and write to that one."
        )
