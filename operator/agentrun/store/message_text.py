"""
Encoding of messages as text for a database.

Pure: the SQL store and the fake share it, so that both accept the same messages.
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
    """
    Encode a message's body and metadata as JSON. Raises TooLargeError above MAX_MESSAGE_BYTES.
    """
    text = dump({"body": message.body.to_json(), "metadata": message.metadata})
    if len(text) > MAX_MESSAGE_BYTES:
        raise TooLargeError(
            f"The message is {len(text)} bytes of JSON, more than {MAX_MESSAGE_BYTES}. Put large"
            " content into a file, a git branch or an artifact, and send its location."
        )
    return text


def decode_message(text: str) -> tuple[AgentMessage, dict[str, Any] | None]:
    """Decode what ``encode_message`` wrote; if that fails, return a message with the reason."""
    try:
        found = read_data(text)
        return AgentMessage.model_validate(found["body"]), found["metadata"]
    except (ValueError, TypeError, KeyError) as error:
        # It must not prevent later messages from being read.
        return text_message(f"[This message cannot be read: {error}]"[:_REASON_CHARS]), None


def text_message(text: str) -> AgentMessage:
    """Make a system message with the text."""
    return AgentMessage(role="system", parts=[MessagePart(type="text", text=text)])


def check_room(message: NewMessage, held: int, size: int) -> None:
    """Raise MailboxFullError if ``size`` more bytes exceed MAX_MAILBOX_BYTES."""
    if held + size > MAX_MAILBOX_BYTES:
        raise MailboxFullError(
            f"The mailbox of {message.to_agent_name} is full: it holds {held} of"
            f" {MAX_MAILBOX_BYTES} bytes. Start another agent and send the message to it."
        )
