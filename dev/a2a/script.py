"""
The agent: its task is a JSON list of steps, such as `[["say", "hi"], ["artifact", "a", "done"]]`.

======================= ========================================================================
step                    effect
======================= ========================================================================
say TEXT                the task is working, with a message
whisper BASE64          the same, with a text that the task does not show in clear
artifact ID TEXT [N]    an artifact, in N chunks
begin ID TEXT           the first chunk of an artifact, which is not its last
fill ID SIZE N          the same, with a text of SIZE characters
data ID OBJECT          an artifact with a data part
binary ID BYTES         an artifact of BYTES bytes
recall                  an artifact with all messages that the conversation received
ask TEXT                input-required; the next message continues with the remaining steps
auth TEXT               auth-required; the same
sleep SECONDS           a pause
fail, reject TEXT       the task ends in that state; without either, it completes
reply TEXT              as the first step: the response is a message, and there is no task
later STEPS             the steps of the next task of the same conversation
stubborn                tasks/cancel fails with TaskNotCancelable
deaf                    tasks/cancel gets no response
drop, hush, garble      the stream fault of that name (see `faults`) at this point
======================= ========================================================================
"""

import asyncio
import base64
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from a2a.helpers import new_data_part, new_raw_part, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import TaskNotCancelableError
from google.protobuf.json_format import MessageToDict

from dev.a2a.faults import FAULTS

Steps = list[list[Any]]


class Scripted(AgentExecutor):
    """Executes the steps in its tasks, and records the messages it receives."""

    def __init__(self) -> None:
        self.left: dict[str, Steps] = {}
        self.later: dict[str, Steps] = {}
        self.habits: dict[str, set[str]] = {}
        self.heard: dict[str, list[str]] = {}
        """The received texts, by conversation."""
        self.metadata: dict[str, list[dict[str, Any]]] = {}
        """The metadata of each received message, by conversation."""
        self.cancelled: list[str] = []
        """The tasks that clients asked to cancel."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Execute the steps of a new task, or the remaining steps of one that waited for input."""
        task, where = context.task_id or "", context.context_id or ""
        text = context.get_user_input()
        self.heard.setdefault(where, []).append(text)
        metadata = MessageToDict(context.message.metadata) if context.message else {}
        self.metadata.setdefault(where, []).append(metadata)
        steps = self.left.pop(task, None) or self.later.pop(where, None)
        steps = _steps(text) if steps is None else steps
        if steps[0][0] == "reply":
            await event_queue.enqueue_event(_agent(steps[0][1], where))
            return
        if context.current_task is None:
            status = pb.TaskStatus(state=pb.TaskState.TASK_STATE_SUBMITTED)
            await event_queue.enqueue_event(pb.Task(id=task, context_id=where, status=status))
        updater = TaskUpdater(event_queue, task, where)
        await updater.start_work()
        await self._work(updater, task, where, steps)

    async def _work(self, updater: TaskUpdater, task: str, where: str, steps: Steps) -> None:
        while steps:
            name, *words = steps.pop(0)
            if name in ("stubborn", "deaf"):
                self.habits.setdefault(task, set()).add(name)
            elif name == "later":
                self.later[where] = words[0]
            elif name == "recall":
                await _artifact(updater, "recall", json.dumps(self.heard[where]))
            elif name in FAULTS:
                await _STEPS["say"](updater, f"({name} {uuid.uuid4().hex[:8]})")
            else:
                if name in ("ask", "auth"):
                    self.left[task] = steps
                await _STEPS[name](updater, *words)
                if name in ("ask", "auth", "fail", "reject"):
                    return
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel the task, unless its steps forbid it."""
        self.cancelled.append(context.task_id or "")
        habits = self.habits.get(context.task_id or "", set())
        if "stubborn" in habits:
            raise TaskNotCancelableError
        if "deaf" in habits:
            await asyncio.sleep(3600)
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


def _steps(text: str) -> Steps:
    try:
        begin = text.index("[[")
        found, _ = json.JSONDecoder().raw_decode(text[begin:])
        return list(found)
    except ValueError:
        return [["artifact", "echo", text]]


def _agent(text: str, context: str | None = None) -> pb.Message:
    return new_text_message(text, context_id=context, role=pb.Role.ROLE_AGENT)


async def _artifact(updater: TaskUpdater, name: str, text: str, pieces: int = 1) -> None:
    size = -(-len(text) // pieces)
    for number in range(pieces):
        piece = text[number * size : (number + 1) * size]
        await updater.add_artifact(
            [new_text_part(piece)], artifact_id=name, name=name, append=number > 0,
            last_chunk=number == pieces - 1,
        )  # fmt: skip


async def _begin(updater: TaskUpdater, name: str, text: str) -> None:
    part = new_text_part(text)
    await updater.add_artifact([part], artifact_id=name, name=name, last_chunk=False)


async def _data(updater: TaskUpdater, name: str, value: Any) -> None:
    await updater.add_artifact([new_data_part(value)], artifact_id=name, name=name)


async def _binary(updater: TaskUpdater, name: str, size: int) -> None:
    part = new_raw_part(bytes(size), media_type="application/octet-stream")
    await updater.add_artifact([part], artifact_id=name, name=name)


_STEPS: dict[str, Callable[..., Awaitable[Any]]] = {
    "say": lambda it, text: it.update_status(pb.TaskState.TASK_STATE_WORKING, _agent(text)),
    "whisper": lambda it, code: _STEPS["say"](it, base64.b64decode(code).decode()),
    "ask": lambda it, text: it.requires_input(_agent(text)),
    "auth": lambda it, text: it.requires_auth(_agent(text)),
    "fail": lambda it, text: it.failed(_agent(text)),
    "reject": lambda it, text: it.reject(_agent(text)),
    "begin": _begin,
    "sleep": lambda it, seconds: asyncio.sleep(seconds),
    "artifact": _artifact,
    "fill": lambda it, name, size, pieces: _artifact(it, name, "x" * size, pieces),
    "data": _data,
    "binary": _binary,
}
