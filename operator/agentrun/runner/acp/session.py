"""Opens the agent's session: a new one, or the session of an earlier attempt or run."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import acp

from agentrun.api.events import EventType
from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import Reason
from agentrun.backends import backend_of
from agentrun.runner.acp import mcp_servers
from agentrun.runner.acp.client import AcpAgent
from agentrun.runner.acp.turn_result import AUTH_CODES, classify
from agentrun.runner.home import ASK
from agentrun.runner.journal.journal import Journal
from agentrun.runner.outcome import AttemptError
from agentrun.runner.snapshot.manifest import ResumePoint

_QUIET_SECONDS = 0.5
_REPLAY_SECONDS = 30.0


class SessionOpener:
    """Opens a session."""

    def __init__(self, agent: AcpAgent, journal: Journal) -> None:
        self._agent = agent
        self._journal = journal
        self._updated = asyncio.Event()
        self._is_replaying = False
        self.answer_tool: str | None = None
        """The agent's own tool for an answer that satisfies a schema, if it has one."""

    async def open(
        self,
        task: Task,
        cwd: str,
        servers: Sequence[mcp_servers.Server],
        origin: ResumePoint | None,
    ) -> None:
        """Open the session, with MCP servers. Raises AttemptError if that fails."""
        mcp_servers.check_transports(servers, self._agent.mcp_capabilities)
        try:
            if origin is None:
                await self._begin(task, cwd, servers)
            else:
                await self._load(task, cwd, servers, origin)
        except acp.RequestError as error:
            raise _not_opened(error, origin) from error

    def is_replay(self) -> bool:
        """Return whether an update that arrives now is a replay of one from an earlier pod."""
        self._updated.set()
        return self._is_replaying

    async def _load(
        self, task: Task, cwd: str, servers: Sequence[mcp_servers.Server], origin: ResumePoint
    ) -> None:
        if not self._agent.can_load:
            raise _not_resumable("The agent cannot go on with an earlier conversation.")
        self._is_replaying = True
        try:
            await self._begin(task, cwd, servers, origin.manifest.session_id)
            # The Gemini CLI reports that it has loaded a session, and then replays its updates.
            with suppress(TimeoutError):
                async with asyncio.timeout(_REPLAY_SECONDS):
                    while await self._goes_on():
                        continue
        finally:
            self._is_replaying = False

    async def _goes_on(self) -> bool:
        """Wait for one more update for ``_QUIET_SECONDS``; False if there is none."""
        self._updated.clear()
        try:
            async with asyncio.timeout(_QUIET_SECONDS):
                return await self._updated.wait()
        except TimeoutError:
            return False

    async def _begin(
        self, task: Task, cwd: str, servers: Sequence[mcp_servers.Server], load: str | None = None
    ) -> None:
        backend, asks = backend_of(task.spec.backend), task.profile.permission_mode == ASK
        mode, usual = backend.session_mode(asks), backend.session_meta(asks, None)
        answering = backend.session_meta(asks, task.spec.output_schema)
        if answering != usual:
            self.answer_tool = backend.extensions.answer_tool
            try:
                return await self._agent.open_session(cwd, mode, servers, load, answering)
            except acp.RequestError as error:
                # It does not support every JSON Schema. The runner's own check does.
                self.answer_tool = None
                why = classify(error.code, str(error), error.data, None).message
                text = f"The agent answers without its own tool for structured output: {why}"
                self._journal.add(EventType.REASONING, {"text": text})
        await self._agent.open_session(cwd, mode, servers, load, usual)


def _not_opened(error: acp.RequestError, origin: ResumePoint | None) -> AttemptError:
    if error.code in AUTH_CODES:
        return AttemptError(Reason.AUTH_REQUIRED, f"The agent opened no session: {error}")
    if origin is not None:
        return _not_resumable(f"The agent cannot find its earlier conversation: {error}.")
    return AttemptError(Reason.PROTOCOL_ERROR, f"The agent opened no session: {error}")


def _not_resumable(what: str) -> AttemptError:
    message = f"{what} To do the work without it, start a new run (continue_run with from_start)."
    return AttemptError(Reason.SESSION_NOT_RESUMABLE, message)
