"""Runner and gateway may differ in version: what a newer one adds must not break the other."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from agentrun.api import gateway
from agentrun.api.events import EventType, NewEvent
from agentrun.api.gateway import (
    Append,
    Blob,
    Delivered,
    Head,
    Inputs,
    MailboxMessage,
    Messages,
    Problem,
    Task,
)
from agentrun.api.v1alpha1 import AgentStatus, Outcome

EVENT = {"seq": 1, "event_id": "e", "ts": "2026-11-24T00:00:00.000Z", "type": "reasoning"}
SPEC = {"backend": "codex", "prompt": "x"}
MAIL = {
    "message_id": "m", "seq": 2, "created_at": "2026-11-24T00:00:00.000Z",
    "body": {"parts": [{"type": "text", "text": "x"}]},
}  # fmt: skip
NEWER = {"from_the_future": {"a": 1}}
MESSAGES: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (Problem, {"error": "sealed", "message": "over"}),
    (Head, {"last_seq": 1}),
    (
        Task,
        {
            "run_id": "r", "namespace": "n", "uid": "u", "attempt": 1, "session_id": "s",
            "agent_name": "a", "spec": SPEC | NEWER,
            "profile": {"backend": "codex", "image": "i"} | NEWER, "head": {"last_seq": 0} | NEWER,
        },
    ),
    (Append, {"events": [EVENT | {"data": {}} | NEWER]}),
    (Blob, {"name": "a", "size": 1, "sha256": "0"}),
    (
        Inputs,
        {
            "inputs": [{"seq": 1, "message": {"parts": [{"type": "text", "text": "x"}]}} | NEWER],
            "desired_state": "Active",
        },
    ),
    (Messages, {"messages": [MAIL | NEWER], "delivered_seq": 1}),
    (MailboxMessage, MAIL),
    (Delivered, {"seq": 1}),
    (AgentStatus, {"state": "Working"}),
    (Outcome, {"attempt": 1, "state": "Completed", "finishedAt": "2026-11-24T00:00:00Z"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "body"), [pytest.param(*one, id=one[0].__name__) for one in MESSAGES]
)
def test_a_field_that_only_a_newer_version_knows_is_ignored(
    model: type[BaseModel], body: dict[str, Any]
) -> None:
    assert model.model_validate(body | NEWER) == model.model_validate(body)


def test_every_message_of_the_protocol_is_tested() -> None:
    messages = {one for one in vars(gateway).values() if is_message(one)}
    assert {one.__name__ for one in messages} <= {model.__name__ for model, _ in MESSAGES}


def is_message(one: object) -> bool:
    if not isinstance(one, type) or not issubclass(one, BaseModel):
        return False
    return one.__module__ == "agentrun.api.gateway" and not one.__name__.startswith("_")


def test_an_event_type_that_only_a_newer_runner_knows_is_accepted() -> None:
    newer = NewEvent.model_validate(EVENT | {"type": "dance_started", "data": {}})
    assert newer.type == "dance_started"
    known = NewEvent.model_validate(EVENT | {"data": {}})
    assert known.type is EventType.REASONING


@pytest.mark.parametrize("kind", ["", "Dance", "dance!", "d" * 33])
def test_an_invalid_event_type_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError):
        NewEvent.model_validate(EVENT | {"type": kind, "data": {}})
