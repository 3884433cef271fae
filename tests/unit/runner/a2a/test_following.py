"""Following a remote task: what is sent again, and what must not be."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from agentrun.api.v1alpha1 import Reason
from agentrun.runner.a2a import following
from agentrun.runner.a2a.errors import RemoteError
from agentrun.runner.a2a.following import TaskFollower
from agentrun.runner.a2a.mapping import TaskMapper
from agentrun.runner.outcome import AttemptError

AWAY = RemoteError("connection refused", sent=False)
LOST = RemoteError("the connection broke off")
Raw = dict[str, Any]


def task(state: str, **more: Any) -> Raw:
    return {"task": {"id": "t", "contextId": "c", "status": {"state": state}, **more}}


WORKING, ASKS, DONE = (
    task(f"TASK_STATE_{state}") for state in ("WORKING", "INPUT_REQUIRED", "COMPLETED")
)


@dataclass
class FakeRemote:
    """Answers in turn with what it was given; an error is raised."""

    sends: list[list[Raw | RemoteError]]
    gets: list[Raw | RemoteError] = field(default_factory=list)
    is_streaming: bool = False
    sent: int = 0

    async def send(self, message: Raw) -> AsyncIterator[Raw]:
        self.sent += 1
        for one in self.sends.pop(0):
            yield answered(one)

    async def get(self, name: str) -> Raw:
        return answered(self.gets.pop(0))


def answered(one: Raw | RemoteError) -> Raw:
    if isinstance(one, RemoteError):
        raise one
    return one


def following_of(remote: FakeRemote, begun: bool) -> tuple[TaskFollower, TaskMapper]:
    mapper = TaskMapper("http://agent", "scripted")
    if begun:
        mapper.feed(ASKS)
        mapper.begin_turn(new_task=False)

    async def hear(event: Raw) -> None:
        mapper.feed(event)

    return TaskFollower(remote, mapper, hear), mapper  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("begun", "sends", "gets", "sent"),
    [
        pytest.param(False, [[WORKING, DONE]], [], 1, id="all-is-well"),
        pytest.param(False, [[AWAY], [DONE]], [], 2, id="task-that-never-arrived"),
        pytest.param(False, [[WORKING, LOST]], [DONE], 1, id="stream-that-broke-off"),
        pytest.param(False, [[WORKING]], [WORKING, DONE], 1, id="stream-without-its-end"),
        pytest.param(False, [[WORKING]], [LOST, DONE], 1, id="agent-that-was-away"),
        pytest.param(True, [[AWAY], [DONE]], [], 2, id="answer-that-never-arrived"),
        pytest.param(True, [[LOST], [DONE]], [ASKS], 2, id="answer-that-was-not-taken"),
        pytest.param(True, [[LOST]], [WORKING, DONE], 1, id="answer-that-was-taken"),
        pytest.param(True, [[LOST], [DONE]], [LOST], 2, id="answer-of-which-nothing-is-known"),
    ],
)
async def test_message_is_sent_once(
    begun: bool, sends: list[list[Raw | RemoteError]], gets: list[Raw | RemoteError], sent: int
) -> None:
    remote = FakeRemote(sends, gets)
    follower, mapper = following_of(remote, begun)
    await follower.turn({})
    assert (mapper.state, remote.sent) == ("completed", sent)
    assert (remote.sends, remote.gets) == ([], [])


@pytest.mark.parametrize(
    ("sends", "gets", "reason", "words"),
    [
        pytest.param([[LOST]], [], Reason.PROVIDER_ERROR, "did not accept the task", id="new-task"),
        pytest.param([[]], [], Reason.PROTOCOL_ERROR, "without a message or a task", id="mute"),
        pytest.param(
            [[WORKING]], [RemoteError("Task not found", final=True)], Reason.PROVIDER_ERROR,
            "Remote task t cannot be followed: Task not found", id="forgotten",
        ),
        pytest.param(
            [[RemoteError("x answered 401", 401, final=True)]], [], Reason.AUTH_REQUIRED,
            "x answered 401", id="refused",
        ),
    ],
)  # fmt: skip
async def test_error_that_prevents_continuing_is_named(
    sends: list[list[Raw | RemoteError]], gets: list[Raw | RemoteError], reason: Reason, words: str
) -> None:
    follower, _ = following_of(FakeRemote(sends, gets), begun=False)
    with pytest.raises(AttemptError, match=words) as caught:
        await follower.turn({})
    assert caught.value.reason is reason


async def test_agent_that_stays_unreachable_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.0)
    follower, _ = following_of(FakeRemote([[WORKING]], [LOST, LOST]), begun=False)
    with pytest.raises(AttemptError, match="cannot be followed: the connection broke off"):
        await follower.turn({})
