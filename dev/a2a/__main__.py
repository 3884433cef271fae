"""
Serve an A2A agent that does what its task says: steps as a JSON list, such as `["say", "hello"]`.

====================== =========================================================================
step                   what happens
====================== =========================================================================
say TEXT               the task is working, with a message
artifact ID TEXT [N]   an artifact, in N pieces
data ID OBJECT         an artifact with a data part
binary ID BYTES        an artifact of so many bytes
ask TEXT               input-required; the next message goes on with the steps after it
auth TEXT              auth-required; the same
sleep SECONDS          nothing
fail, reject TEXT      the task ends so; without either, it is completed
stubborn               tasks/cancel is refused with TaskNotCancelable
deaf                   tasks/cancel is not answered
====================== =========================================================================

Environment: A2A_PORT, A2A_URL (what the card names), A2A_STREAMING (0: not), A2A_V03 (1: the card
is of version 0.3), A2A_TOKEN (the bearer that is wanted).
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from a2a.helpers import new_data_part, new_raw_part, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import TaskNotCancelableError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

Steps = list[list[Any]]


class Scripted(AgentExecutor):
    """Does what its tasks say."""

    def __init__(self) -> None:
        self.left: dict[str, Steps] = {}
        self.habits: dict[str, set[str]] = {}
        self.heard: list[str] = []

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Do the steps of a new task, or those that are left of one that waited."""
        task, where = context.task_id or "", context.context_id or ""
        text = context.get_user_input()
        self.heard.append(text)
        if context.current_task is None:
            status = pb.TaskStatus(state=pb.TaskState.TASK_STATE_SUBMITTED)
            await event_queue.enqueue_event(pb.Task(id=task, context_id=where, status=status))
        updater = TaskUpdater(event_queue, task, where)
        steps = self.left.pop(task, None)
        if steps is None:
            steps = _steps(text)
        await updater.start_work()
        while steps:
            name, *words = steps.pop(0)
            if name in ("stubborn", "deaf"):
                self.habits.setdefault(task, set()).add(name)
                continue
            if name in ("ask", "auth"):
                self.left[task] = steps
            await _STEPS[name](updater, *words)
            if name in ("ask", "auth", "fail", "reject"):
                return
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel, unless the task said not to."""
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


def _agent(text: str) -> pb.Message:
    return new_text_message(text, role=pb.Role.ROLE_AGENT)


async def _artifact(updater: TaskUpdater, name: str, text: str, pieces: int = 1) -> None:
    size = -(-len(text) // pieces)
    for number in range(pieces):
        piece = text[number * size : (number + 1) * size]
        await updater.add_artifact(
            [new_text_part(piece)], artifact_id=name, name=name, append=number > 0,
            last_chunk=number == pieces - 1,
        )  # fmt: skip


async def _data(updater: TaskUpdater, name: str, value: Any) -> None:
    await updater.add_artifact([new_data_part(value)], artifact_id=name, name=name)


async def _binary(updater: TaskUpdater, name: str, size: int) -> None:
    part = new_raw_part(bytes(size), media_type="application/octet-stream")
    await updater.add_artifact([part], artifact_id=name, name=name)


_STEPS: dict[str, Callable[..., Awaitable[Any]]] = {
    "say": lambda it, text: it.update_status(pb.TaskState.TASK_STATE_WORKING, _agent(text)),
    "ask": lambda it, text: it.requires_input(_agent(text)),
    "auth": lambda it, text: it.requires_auth(_agent(text)),
    "fail": lambda it, text: it.failed(_agent(text)),
    "reject": lambda it, text: it.reject(_agent(text)),
    "sleep": lambda it, seconds: asyncio.sleep(seconds),
    "artifact": _artifact,
    "data": _data,
    "binary": _binary,
}


def make_card(url: str, streaming: bool, old: bool) -> pb.AgentCard:
    """Make the card that names ``url``."""
    version = "0.3.0" if old else "1.0"
    interface = pb.AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version=version)
    return pb.AgentCard(
        name="scripted", description="Does what it is told.", version="1",
        supported_interfaces=[interface], default_input_modes=["text"],
        default_output_modes=["text"],
        capabilities=pb.AgentCapabilities(streaming=streaming),
        skills=[pb.AgentSkill(id="steps", name="steps", description="steps", tags=["test"])],
    )  # fmt: skip


def make_app(
    url: str, executor: Scripted, streaming: bool = True, old: bool = False, token: str = ""
) -> Starlette:
    """Make the server."""
    card = make_card(url, streaming, old)
    handler = DefaultRequestHandler(executor, InMemoryTaskStore(), card)
    routes = create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=old)

    async def guard(request: Request, call: Any) -> Response:
        if token and request.headers.get("authorization") != f"Bearer {token}":
            return JSONResponse({"error": "unauthenticated"}, status_code=401)
        answer: Response = await call(request)
        return answer

    guards = [Middleware(BaseHTTPMiddleware, dispatch=guard)] if token else []
    return Starlette(routes=[*create_agent_card_routes(card), *routes], middleware=guards)


def main() -> None:
    """Serve for ever."""
    env = os.environ
    port = int(env.get("A2A_PORT", "8080"))
    url = env.get("A2A_URL", f"http://127.0.0.1:{port}/rpc")
    streaming, old = env.get("A2A_STREAMING") != "0", env.get("A2A_V03") == "1"
    app = make_app(url, Scripted(), streaming, old, env.get("A2A_TOKEN", ""))
    uvicorn.run(app, host="0.0.0.0", port=port, log_level="warning")


if __name__ == "__main__":
    main()
