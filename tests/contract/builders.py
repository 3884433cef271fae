"""Runs and events for the tests of the stores."""

from datetime import UTC, datetime, timedelta
from typing import Any

from agentrun.api.events import EventType, NewEvent
from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1 import AgentRun, AgentRunSpec, AgentRunStatus, ObjectMeta, Phase
from agentrun.store.base import NewMessage, RunRow

BEGIN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TS = "2026-11-23T12:00:00.000Z"


def a_run(
    uid: str = "uid-1",
    name: str = "",
    *,
    namespace: str = "team",
    minute: int = 0,
    phase: Phase | None = None,
    version: int = 1,
    **spec: Any,
) -> AgentRun:
    return AgentRun(
        metadata=ObjectMeta(
            name=name or f"run-{uid}",
            namespace=namespace,
            uid=uid,
            resource_version=str(version),
            creation_timestamp=BEGIN + timedelta(minutes=minute),
        ),
        spec=AgentRunSpec.model_validate({"backend": "codex", "prompt": "Fix it.", **spec}),
        status=AgentRunStatus(phase=phase),
    )


def a_row(uid: str = "uid-1", name: str = "", session_uid: str = "s-1", **run: Any) -> RunRow:
    return RunRow(a_run(uid, name, **run), session_uid=session_uid)


def an_event(seq: int, event_id: str = "", type: str = "agent_message", **data: Any) -> NewEvent:
    return NewEvent(
        seq=seq,
        event_id=event_id or f"e-{seq}",
        ts=TS,
        type=EventType(type),
        data=data or {"text": f"Message {seq}"},
    )


def events(first: int, last: int) -> list[NewEvent]:
    return [an_event(seq) for seq in range(first, last + 1)]


def a_message(
    message_id: str = "m-1",
    text: str = "Ünï 🚀 \x00 text",
    *,
    to: str = "s-1",
    sender: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> NewMessage:
    return NewMessage(
        message_id=message_id,
        to_session_uid=to,
        to_agent_name="one",
        body=AgentMessage.model_validate(
            {"role": "agent", "parts": [{"type": "text", "text": text}]}
        ),
        from_session_uid="s-2" if sender else None,
        from_agent_name=sender,
        metadata=metadata,
    )
