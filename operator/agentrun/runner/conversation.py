"""
The conversation with the agent: its turns, and what comes of them.

What the agent says on the way goes into the journal as it comes; what a turn ends with is
checked here: the provider's errors, the structured answer.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import acp

from agentrun.api.events import EventType
from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import AgentState, OutcomeState, Question, Reason, Usage
from agentrun.runner import mcp
from agentrun.runner.acp.mapping import FINAL_BOUND, Mapper, permission_text
from agentrun.runner.acp.reading import MAX_DEPTH, is_deep
from agentrun.runner.acp.transport import Surroundings
from agentrun.runner.agent import Agent
from agentrun.runner.backends import BYPASS_MODES
from agentrun.runner.gateway import Gateway, Unavailable
from agentrun.runner.journal import Journal
from agentrun.runner.outcome import (
    End,
    Failure,
    add_usage,
    classify,
    end_of_turn,
    is_provider_error,
    usage_of,
)
from agentrun.runner.pipes import Pipes
from agentrun.runner.prompt import build_prompt, build_repair, check_answer
from agentrun.runner.proxy import ProviderProxy
from agentrun.runner.redact import Redactor
from agentrun.runner.reporter import Reporter

PAUSE_SECONDS = 1.0
"""When the agent pauses for so long, readers get what it has said so far."""
_PROMPT_SENT_SECONDS = 10.0
_AUTH_CODES = (-32000, 401, 403)


class Conversation:
    """One agent, and what it says."""

    stop_words = "The runner was told to stop."

    def __init__(
        self,
        pipes: Pipes,
        journal: Journal,
        reporter: Reporter,
        redactor: Redactor,
        workspace: str,
        backend: str,
    ) -> None:
        self._journal = journal
        self._backend = backend
        self._reporter = reporter
        self._workspace = workspace
        self._mapper = Mapper(redactor.text, redactor.safe_length, workspace)
        self._last_update = 0.0
        around = Surroundings(redactor, journal.new_file, journal.room)
        self.agent = Agent(pipes, self._take, self._note_permission, around)
        self.usage: Usage | None = None
        self.prompt_sent = False

    async def listen(self) -> None:
        """Follow the agent, and pass on what it has said when it pauses, for ever."""
        await asyncio.gather(self.agent.listen(), self._pass_on())

    async def open(self, task: Task, cwd: str, servers: Sequence[mcp.Server] = ()) -> None:
        """Open the agent's session, with MCP servers, and say that the run has started."""
        mode = BYPASS_MODES.get(task.spec.backend)
        mcp.check_transports(servers, self.agent.mcp_capabilities)
        try:
            await self.agent.open_session(cwd, mode, servers)
        except acp.RequestError as error:
            reason = Reason.AUTH_REQUIRED if error.code in _AUTH_CODES else Reason.PROTOCOL_ERROR
            raise Failure(reason, f"The agent opened no session: {error}") from error
        session = self.agent.session_id
        ids: dict[str, Any] = {"backend_session_id": session}
        if task.spec.backend == "codex":
            ids["thread_id"] = session
        started = {**ids, "requested_model": task.spec.model, "attempt": task.attempt}
        self._journal.add(EventType.RUN_STARTED, started)
        self._journal.add(EventType.STATUS_CHANGED, {"status": "running", **ids})

    async def work(self, task: Task, proxy: ProviderProxy | None, gateway: Gateway) -> End:
        """Give the agent its task, and stay with it until it is done."""
        prompt = build_prompt(task.spec, task.profile.instructions)
        acknowledged = task.acknowledged_input
        has_key = task.profile.provider.key_secret is not None
        while True:
            try:
                end = await self._turn(prompt, proxy, has_key)
                return await self._structured(end, task.spec.output_schema, proxy, has_key)
            except Failure as failure:
                if failure.reason is not Reason.AUTH_REQUIRED:
                    raise
                if has_key:
                    raise self._refused_key(task, failure) from failure
                acknowledged = await self._wait_for_leave(failure, gateway, acknowledged)

    def end_turn(self) -> None:
        """End whatever the agent still had under way."""
        self._add(self._mapper.end_turn())

    async def _turn(self, text: str, proxy: ProviderProxy | None, has_key: bool) -> End:
        self._mapper.begin_turn()
        if proxy:
            proxy.begin_turn()
        await self._announce_prompt()
        try:
            refused = proxy.refused if proxy and has_key else None
            response = await _unless(refused, self.agent.prompt(text))
        except acp.RequestError as error:
            seen = (proxy.refusal or proxy.error) if proxy else None
            raise classify(error.code, str(error), error.data, seen) from error
        finally:
            self.end_turn()
        if response is None:
            refusal = proxy.refusal if proxy else None
            raise classify(401, "the provider refused the key", None, refusal)
        seen, said = (proxy.error if proxy else None), self._mapper.final_response
        if is_provider_error(self._backend, said, seen):
            raise classify(0, "the provider answered with an error", None, seen)
        await self._count(response)
        return end_of_turn(response.stop_reason, said)

    async def _announce_prompt(self) -> None:
        """Say that the prompt goes out, before it does: an attempt after that is another one."""
        self.prompt_sent = True
        await self._reporter.update(
            state=AgentState.WORKING, session_id=self.agent.session_id, prompt_sent=True,
            question=None,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_PROMPT_SENT_SECONDS):
                await self._reporter.settled()
        except TimeoutError:
            return  # the gateway is away; the reporter goes on trying

    async def _structured(
        self, end: End, schema: dict[str, Any] | None, proxy: ProviderProxy | None, has_key: bool
    ) -> End:
        """Check the answer against the schema; the agent may mend it once."""
        if schema is None or end.state is not OutcomeState.COMPLETED:
            return end
        try:
            return replace(end, structured=self._check_answer(schema))
        except ValueError as problem:
            repair = build_repair(str(problem), schema)
        end = await self._turn(repair, proxy, has_key)
        if end.state is not OutcomeState.COMPLETED:
            return end
        try:
            return replace(end, structured=self._check_answer(schema))
        except ValueError as problem:
            message = f"The final answer does not satisfy outputSchema: {problem}"
            raise Failure(Reason.OUTPUT_INVALID, message) from problem

    def _check_answer(self, schema: dict[str, Any]) -> Any:
        if self._mapper.is_cut:
            raise ValueError(f"it is longer than {FINAL_BOUND} characters")
        try:
            answer = check_answer(self._mapper.final_response or "", schema)
            is_too_deep = is_deep(json.dumps(answer).encode())
        except RecursionError:
            is_too_deep = True
        if is_too_deep:
            raise ValueError(f"it is more than {MAX_DEPTH} levels deep")
        return answer

    def _refused_key(self, task: Task, failure: Failure) -> Failure:
        """Say which key the provider does not take: waiting would not change it."""
        key = task.profile.provider.key_secret
        where = f"Secret {key.name}, key {key.key}" if key else "the profile's Secret"
        text = f"The model's provider refuses the key in {where}: {failure.message}"
        self._journal.add(EventType.AUTH_REQUIRED, {"text": text})
        return Failure(Reason.AUTH_REQUIRED, text)

    async def _wait_for_leave(self, failure: Failure, gateway: Gateway, after: int) -> int:
        """Ask a person for other credentials, and wait for the answer. Returns its number."""
        text = f"The model's provider refuses the agent's credentials: {failure.message}"
        question = Question(
            id=f"auth-{after + 1}", kind="auth", text=text, asked_at=datetime.now(UTC)
        )
        self._journal.add(EventType.AUTH_REQUIRED, {"text": text, "question_id": question.id})
        await self._reporter.update(state=AgentState.AUTH_REQUIRED, question=question)
        while True:
            try:
                inputs = (await gateway.inputs(after)).inputs
            except Unavailable:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if inputs:
                break
        newest = max(one.seq for one in inputs)
        self._journal.add(EventType.STATUS_CHANGED, {"status": "running", "reason": "continue_run"})
        await self._reporter.update(acknowledged_input=newest)
        return newest

    async def _count(self, response: acp.PromptResponse) -> None:
        answer = response.model_dump(mode="json", by_alias=True, exclude_none=True)
        self.usage = add_usage(self.usage, usage_of(answer, self._mapper.cost))
        await self._reporter.update(usage=self.usage)

    async def _take(self, update: dict[str, Any]) -> None:
        self._last_update = time.monotonic()
        self._add(self._mapper.feed(update))

    async def _pass_on(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS / 2)
            if time.monotonic() - self._last_update >= PAUSE_SECONDS:
                self._add(self._mapper.flush())

    def _note_permission(self, tool_call: dict[str, Any], answer: str) -> None:
        text = permission_text(tool_call, answer, self._workspace)
        self._journal.add(EventType.REASONING, {"text": text})

    def _add(self, drafts: list[tuple[EventType, dict[str, Any]]]) -> None:
        for kind, data in drafts:
            self._journal.add(kind, data)


async def _unless(
    event: asyncio.Event | None, request: Awaitable[acp.PromptResponse]
) -> acp.PromptResponse | None:
    """Wait for the answer to a request, unless the event comes first: then return None."""
    if event is None:
        return await request
    asked = asyncio.ensure_future(request)
    refused = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({asked, refused}, return_when=asyncio.FIRST_COMPLETED)
        return await asked if asked.done() else None
    finally:
        asked.cancel()
        refused.cancel()
