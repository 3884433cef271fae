"""
The agent's session: a new one, or the session of an earlier attempt or run.

Its updates are written to the journal as they arrive.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import acp

from agentrun.api.events import EventType
from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import Reason
from agentrun.backends import backend_of
from agentrun.runner.acp import mcp_servers
from agentrun.runner.acp.client import AcpAgent
from agentrun.runner.acp.mapping import SILENT, UpdateMapper
from agentrun.runner.acp.streams import Draft
from agentrun.runner.acp.turn_result import AUTH_CODES, classify
from agentrun.runner.home import ASK
from agentrun.runner.journal.journal import Journal
from agentrun.runner.outcome import AttemptError
from agentrun.runner.snapshot.manifest import ResumePoint

PAUSE_SECONDS = 1.0
"""After a pause of this many seconds, the text that the agent has sent so far is published."""
_SILENT = SILENT | {"usage_update"}
_TAIL_QUIET_SECONDS = 0.15
_TAIL_SECONDS = 2.0
_QUIET_SECONDS = 0.5
_REPLAY_SECONDS = 30.0


class UpdateRecorder:
    """Records the updates of a session in the journal."""

    def __init__(self, journal: Journal, mapper: UpdateMapper) -> None:
        self.journal = journal
        self._mapper = mapper
        self._last_update = 0.0
        self._updated = asyncio.Event()
        self._is_replaying = False

    async def take(self, update: dict[str, Any]) -> None:
        """Record an update, unless it is a replay of one from an earlier pod."""
        self._updated.set()
        if self._is_replaying:
            return
        # An agent that reports what it uses or offers says nothing by that.
        if update.get("sessionUpdate") not in _SILENT:
            self._last_update = time.monotonic()
        self._add(self._mapper.feed(update))

    async def publish_pauses(self) -> None:
        """Publish pending text when the agent pauses; does not return."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS / 2)
            if time.monotonic() - self._last_update >= PAUSE_SECONDS:
                self.publish()

    def publish(self) -> None:
        """Publish all text that the agent has sent so far, as before a question."""
        self._add(self._mapper.let_go())

    async def tail(self) -> None:
        """
        Wait for the updates of a turn that the agent sends after its end, until there are none.

        Agents send updates and the response to a prompt from different tasks.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_TAIL_SECONDS):
                while await self._goes_on(_TAIL_QUIET_SECONDS):
                    continue

    def end_turn(self) -> None:
        """End the items that the agent has left open."""
        self._add(self._mapper.end_turn())

    @asynccontextmanager
    async def replay(self) -> AsyncIterator[None]:
        """Drop the updates that arrive during the block, and those that follow it."""
        self._is_replaying = True
        try:
            yield
            # The Gemini CLI reports that it has loaded a session, and then replays its updates.
            with suppress(TimeoutError):
                async with asyncio.timeout(_REPLAY_SECONDS):
                    while await self._goes_on(_QUIET_SECONDS):
                        continue
        finally:
            self._is_replaying = False

    async def _goes_on(self, seconds: float) -> bool:
        """Wait for one more update for ``seconds``; False if there is none."""
        self._updated.clear()
        try:
            async with asyncio.timeout(seconds):
                return await self._updated.wait()
        except TimeoutError:
            return False

    def _add(self, drafts: list[Draft]) -> None:
        for kind, data in drafts:
            self.journal.add(kind, data)


@dataclass(frozen=True)
class SessionOpener:
    """Opens the session for a task, with MCP servers."""

    agent: AcpAgent
    updates: UpdateRecorder
    task: Task
    cwd: str
    servers: Sequence[mcp_servers.Server]

    async def open(self, origin: ResumePoint | None) -> str | None:
        """
        Open the session, that of ``origin`` if there is one, and record that the run has started.

        Returns the agent's own tool for an answer that satisfies a schema, if it has one. Raises
        AttemptError if the session cannot be opened.
        """
        mcp_servers.check_transports(self.servers, self.agent.mcp_capabilities)
        try:
            answer_tool = await (self._begin() if origin is None else self._load(origin))
        except acp.RequestError as error:
            raise _not_opened(error, origin) from error
        self._record_start()
        return answer_tool

    async def _load(self, origin: ResumePoint) -> str | None:
        if not self.agent.can_load:
            raise _not_resumable("The agent cannot go on with an earlier conversation.")
        async with self.updates.replay():
            return await self._begin(origin.manifest.session_id)

    async def _begin(self, load: str | None = None) -> str | None:
        task, backend = self.task, backend_of(self.task.spec.backend)
        asks = task.profile.permission_mode == ASK
        mode, usual = backend.session_mode(asks), backend.session_meta(asks, None)
        answering = backend.session_meta(asks, task.spec.output_schema)
        if answering != usual:
            try:
                await self.agent.open_session(self.cwd, mode, self.servers, load, answering)
                return backend.extensions.answer_tool
            except acp.RequestError as error:
                # It does not support every JSON Schema. The runner's own check does.
                why = classify(error.code, str(error), error.data, None).message
                text = f"The agent answers without its own tool for structured output: {why}"
                self.updates.journal.add(EventType.REASONING, {"text": text})
        await self.agent.open_session(self.cwd, mode, self.servers, load, usual)
        return None

    def _record_start(self) -> None:
        session, spec = self.agent.session_id, self.task.spec
        ids: dict[str, Any] = {"backend_session_id": session}
        if backend_of(spec.backend).has_threads:
            ids["thread_id"] = session
        started = {**ids, "requested_model": spec.model, "attempt": self.task.attempt}
        self.updates.journal.add(EventType.RUN_STARTED, started)
        self.updates.journal.add(EventType.STATUS_CHANGED, {"status": "running", **ids})


def _not_opened(error: acp.RequestError, origin: ResumePoint | None) -> AttemptError:
    if error.code in AUTH_CODES:
        return AttemptError(Reason.AUTH_REQUIRED, f"The agent opened no session: {error}")
    if origin is not None:
        return _not_resumable(f"The agent cannot find its earlier conversation: {error}.")
    return AttemptError(Reason.PROTOCOL_ERROR, f"The agent opened no session: {error}")


def _not_resumable(what: str) -> AttemptError:
    message = f"{what} To do the work without it, start a new run (continue_run with from_start)."
    return AttemptError(Reason.SESSION_NOT_RESUMABLE, message)
