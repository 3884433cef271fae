"""Messages to a remote agent: the SDK's messages, as JSON. Pure."""

from typing import Any

from agentrun.api.gateway import Task
from agentrun.api.messages import AgentMessage, MessagePart

Raw = dict[str, Any]


def text_parts(text: str) -> list[Raw]:
    """Build a text part."""
    return [{"text": text}]


def parts_of(message: AgentMessage) -> list[Raw]:
    """Convert the parts of a message."""
    return [_part(part) for part in message.parts]


def build_message(
    name: str,
    parts: list[Raw],
    task: Task,
    context: str | None,
    remote_task: str | None,
    metadata: Raw | None = None,
) -> Raw:
    """Build a message with its sender's metadata, for a context and a task of it."""
    own = {"run_id": task.run_id, "session_id": task.session_id, "agent_name": task.agent_name}
    message = {
        "messageId": name, "role": "ROLE_USER", "parts": parts,
        "metadata": {**(metadata or {}), "agentrun": own},
        "contextId": context, "taskId": remote_task,
    }  # fmt: skip
    return {key: value for key, value in message.items() if value}


def _part(part: MessagePart) -> Raw:
    if part.type == "text":
        return {"text": part.text or ""}
    if part.type == "data":
        return {"data": part.data or {}}
    content = {"raw": part.bytes_base64} if part.bytes_base64 else {"url": part.uri or ""}
    more = {"mediaType": part.mime_type, "filename": part.name}
    return {**content, **{key: value for key, value in more.items() if value}}
