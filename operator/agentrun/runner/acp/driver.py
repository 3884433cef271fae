"""
The conversation with an ACP agent: its prompt turns and their results.

The agent's updates are written to the journal as they arrive. The result of a turn is checked
here: errors of the provider, and the structured answer.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import acp

from agentrun.api.events import EventType
from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import AgentState, OutcomeState, Question, Reason, Usage
from agentrun.backends import backend_of
from agentrun.runner.acp.client import AcpAgent
from agentrun.runner.acp.mailbox import Mailbox
from agentrun.runner.acp.mapping import UpdateMapper, find_answer
from agentrun.runner.acp.permissions import PermissionBroker
from agentrun.runner.acp.services import PodServices
from agentrun.runner.acp.session import SessionOpener
from agentrun.runner.acp.transport import TransportContext
from agentrun.runner.acp.turn_result import (
    add_usage,
    classify,
    end_of_turn,
    is_provider_error,
    usage_of,
    without_cost,
)
from agentrun.runner.gateway import Gateway
from agentrun.runner.home import ASK
from agentrun.runner.journal.journal import Journal
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import WAITING_END, AttemptError, End, invalid_answer
from agentrun.runner.pipes import Pipes
from agentrun.runner.prompt import GO_ON, build_answer, build_prompt, build_repair
from agentrun.runner.provider.proxy import ProviderProxy
from agentrun.runner.questions import QuestionExpiredError, Questions
from agentrun.runner.settings import Settings
from agentrun.runner.snapshot.manifest import DriverState, Manifest, ResumePoint, acknowledged_input
from agentrun.runner.status_reporter import StatusReporter
from agentrun.runner.tasks import cancel

PAUSE_SECONDS = 1.0
"""After a pause of this many seconds, the text that the agent has sent so far is published."""
_CANCEL_SECONDS = 5.0


class AcpDriver:
    """One ACP agent and its conversation."""

    stop_message = "The runner was asked to stop."

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        pipes: Pipes,
        gateway: Gateway,
        journal: Journal,
        reporter: StatusReporter,
        questions: Questions,
        redactor: Redactor,
    ) -> None:
        workspace = str(layout.workspace)
        self._journal = journal
        self._backend = backend_of(settings.backend)
        self._reporter = reporter
        self._mapper = UpdateMapper(redactor.text, redactor.safe_length, workspace)
        self._last_update = 0.0
        self._questions = questions
        self._clean = redactor.text
        self._permissions = PermissionBroker(
            journal, questions, redactor.text, workspace, self._mapper.announced
        )
        self._asked = ""
        """The text of the current turn, sent again after a person has renewed the credentials."""
        around = TransportContext(redactor, journal.new_file, journal.room)
        self._agent = AcpAgent(pipes, self._take, self._permissions.note, around)
        self._opening = SessionOpener(self._agent, journal)
        self._mailbox = Mailbox(self._agent, journal, gateway)
        self._services = PodServices(settings, layout, pipes, gateway)
        self._serving = AsyncExitStack()
        self._proxy: ProviderProxy | None = None
        self._task: Task | None = None
        self._origin: ResumePoint | None = None
        self._usage: Usage | None = None
        self._cost: str | None = None
        self._cost_before: str | None = None
        self._prompt_sent = False

    async def listen(self) -> None:
        """Follow the agent, and publish pending text when it pauses; does not return."""
        await asyncio.gather(self._agent.listen(), self._pass_on())

    async def start(self, task: Task, cwd: str, origin: ResumePoint | None) -> None:
        """Start the agent's program, open its session, and record that the run has started."""
        self._task, self._origin = task, origin
        self._questions.acknowledged = acknowledged_input(task, origin)
        async with AsyncExitStack() as stack:
            served = await stack.enter_async_context(self._services.serve(task, self._mailbox))
            await self._agent.begin()
            await self._agent.handshake()
            offered = self._agent.mcp_capabilities
            servers = self._services.mcp_servers(task, served.tools_url, offered)
            self._mapper.attempt = task.attempt
            if task.profile.permission_mode == ASK:
                self._agent.ask_with(self._permissions.ask)
            if origin is not None:
                self._take_over(origin)
            await self._opening.open(task, cwd, servers, origin)
            self._record_start(task)
            self._proxy, self._serving = served.proxy, stack.pop_all()

    def _record_start(self, task: Task) -> None:
        session = self._agent.session_id
        ids: dict[str, Any] = {"backend_session_id": session}
        if self._backend.has_threads:
            ids["thread_id"] = session
        started = {**ids, "requested_model": task.spec.model, "attempt": task.attempt}
        self._journal.add(EventType.RUN_STARTED, started)
        self._journal.add(EventType.STATUS_CHANGED, {"status": "running", **ids})

    def _take_over(self, origin: ResumePoint) -> None:
        """Continue from the usage and the cost of the conversation so far."""
        self._cost = origin.manifest.cost_usd
        if origin.is_own:
            self._usage = origin.manifest.usage
        else:
            self._cost_before = self._cost

    async def run(self) -> End:
        """Run the task until the agent has finished, or until a question has expired."""
        task, origin = self._task, self._origin
        assert task is not None, "start comes first"
        own = origin.manifest if origin and origin.is_own else None
        known = origin.manifest.delivered_message if origin else 0
        self._mailbox.open(task.profile.agent_tools.deliver_messages, known)
        async with self._serving:
            try:
                prompt = await self._first_prompt(task, origin, own)
                while True:
                    try:
                        end = await self._turns(prompt)
                        return await self._structured(end, task.spec.output_schema)
                    except AttemptError as failure:
                        if failure.reason is not Reason.AUTH_REQUIRED:
                            raise
                        if self._has_key:
                            raise _refused_key(task, failure) from failure
                        await self._wait_for_permission(failure)
                        prompt = self._asked
            except QuestionExpiredError:
                return WAITING_END

    async def interrupt(self) -> None:
        """Cancel the agent's turn."""
        await self._agent.cancel()

    async def end_session(self, seconds: float) -> None:
        """End the items that the agent has left open, and close its session."""
        try:
            self._end_turn()
        finally:
            if self._prompt_sent:
                with suppress(ConnectionError, RuntimeError):
                    await self._agent.close_session(seconds)

    async def stop(self) -> bool:
        """Kill the agent's processes, and wait until none is alive."""
        self._agent.end()
        return await self._agent.ended()

    async def close(self) -> None:
        """Kill the agent's processes, and close the connection."""
        self._agent.end()
        await self._agent.close()

    def state(self) -> DriverState:
        """Return the state of the conversation."""
        return DriverState(
            session_id=self._agent.session_id,
            prompt_sent=self._prompt_sent,
            acknowledged=self._questions.acknowledged,
            delivered=self._mailbox.delivered,
            question=self._questions.current,
            question_call=self._questions.current_call,
            usage=self._usage,
            cost=self._cost,
        )

    def final_data(self, state: OutcomeState) -> dict[str, Any]:
        """Return nothing: the run's first events name the conversation."""
        return {}

    @property
    def _has_key(self) -> bool:
        """Whether the profile names the key that the proxy adds to the agent's requests."""
        return self._task is not None and self._task.profile.provider.key_secret is not None

    async def _first_prompt(
        self, task: Task, origin: ResumePoint | None, own: Manifest | None
    ) -> str:
        """Return the first prompt: the task, or the answer to a question of an earlier attempt."""
        if own is None:
            # The conversation already contains the profile's instructions.
            instructions = None if origin else task.profile.instructions
            return build_prompt(task.spec, instructions, self._opening.answer_tool)
        question = own.question
        if question is None:
            return GO_ON
        answer = await self._questions.wait(question, call=own.question_call)
        await self._questions.acknowledge(answer)
        if question.kind == "auth":
            return build_prompt(task.spec, None, self._opening.answer_tool)
        response_text = self._permissions.restore_answer(question, answer, own.question_call)
        return build_answer(
            question.text, response_text, task.spec.output_schema, self._opening.answer_tool
        )

    def _end_turn(self) -> None:
        self._add(self._mapper.end_turn())

    async def _turns(self, prompt: str) -> End:
        """Run a turn, and one more for each reply or batch of messages that arrived meanwhile."""
        end = await self._turn(prompt)
        while end.state is OutcomeState.COMPLETED:
            more = self._permissions.take_reply() or await self._mailbox.next_turn(end)
            if not more:
                break
            end = await self._turn(more)
        return end

    async def _turn(self, text: str) -> End:
        proxy = self._proxy
        self._mapper.begin_turn()
        self._asked = text
        self._permissions.begin_turn()
        if proxy:
            proxy.begin_turn()
        await self._announce_prompt()
        try:
            ends = [proxy.failed, *([proxy.refused] if self._has_key else [])] if proxy else []
            async with self._mailbox.turn():
                response = await self._prompt(text, ends)
        except acp.RequestError as error:
            seen = (proxy.refusal or proxy.error) if proxy else None
            raise classify(error.code, str(error), error.data, seen) from error
        finally:
            self._end_turn()
        if response is None:
            refusal = (proxy.refusal or proxy.error) if proxy else None
            raise classify(0, "the provider does not process requests", None, refusal)
        seen, response_text = (proxy.error if proxy else None), self._mapper.final_response
        if is_provider_error(self._backend, response_text, seen):
            raise classify(0, "the provider answered with an error", None, seen)
        await self._count(response)
        # Some agents end their turn as cancelled when a permission was refused.
        is_refusal = self._permissions.was_refused and response.stop_reason == "cancelled"
        return end_of_turn("end_turn" if is_refusal else response.stop_reason, response_text)

    async def _prompt(self, text: str, ends: Sequence[asyncio.Event]) -> acp.PromptResponse | None:
        """
        Wait for the end of a turn; None if one of the provider's events ``ends`` it earlier.

        Raises QuestionExpiredError if a question in the turn has expired; the turn is cancelled.
        """
        asked = asyncio.ensure_future(self._agent.prompt(text))
        waiting = {asyncio.ensure_future(one.wait()) for one in (*ends, self._questions.expired)}
        try:
            await asyncio.wait({asked, *waiting}, return_when=asyncio.FIRST_COMPLETED)
            if self._questions.expired.is_set():
                with suppress(ConnectionError, TimeoutError):
                    async with asyncio.timeout(_CANCEL_SECONDS):  # it may not read any more
                        await self._agent.cancel()
                await asyncio.wait({asked}, timeout=_CANCEL_SECONDS)
                if asked.done() and asked.exception() is None:
                    await self._count(asked.result())
                raise QuestionExpiredError
            return await asked if asked.done() else None
        finally:
            await cancel(asked, *waiting)

    async def _announce_prompt(self) -> None:
        """Report the prompt before it is sent: a retry after that is another attempt."""
        self._prompt_sent = True
        await self._reporter.update(
            state=AgentState.WORKING, session_id=self._agent.session_id, prompt_sent=True,
            question=None,
        )  # fmt: skip
        await self._reporter.settled_soon()

    async def _structured(self, end: End, schema: dict[str, Any] | None) -> End:
        """Check the answer against the schema; the agent may repair it once."""
        if schema is None or end.state is not OutcomeState.COMPLETED:
            return end
        try:
            return await self._answered(end, schema)
        except ValueError as problem:
            repair = build_repair(str(problem), schema, self._opening.answer_tool)
        end = await self._turn(repair)
        if end.state is not OutcomeState.COMPLETED:
            return end
        try:
            return await self._answered(end, schema)
        except ValueError as problem:
            raise invalid_answer(problem) from problem

    async def _answered(self, end: End, schema: dict[str, Any]) -> End:
        structured = await find_answer(self._mapper, schema)
        response_text = self._mapper.answer or end.final_response
        return replace(end, structured=structured, final_response=response_text)

    async def _wait_for_permission(self, failure: AttemptError) -> None:
        """Ask a person for other credentials, and wait for an answer."""
        text = f"The model's provider refuses the agent's credentials: {failure.message}"
        question = Question(
            id=self._questions.new_id("auth"),
            kind="auth",
            text=self._clean(text),
            asked_at=datetime.now(UTC),
        )
        await self._questions.acknowledge(await self._questions.ask(question))

    async def _count(self, response: acp.PromptResponse) -> None:
        answer = response.model_dump(mode="json", by_alias=True, exclude_none=True)
        used = usage_of(answer, self._mapper.cost)
        self._cost = used.cost_usd if used and used.cost_usd else self._cost
        self._usage = add_usage(self._usage, without_cost(used, self._cost_before))
        await self._reporter.update(usage=self._usage)

    async def _take(self, update: dict[str, Any]) -> None:
        if self._opening.is_replay():
            return
        self._last_update = time.monotonic()
        self._add(self._mapper.feed(update))

    async def _pass_on(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS / 2)
            if time.monotonic() - self._last_update >= PAUSE_SECONDS:
                self._add(self._mapper.flush())

    def _add(self, drafts: list[tuple[EventType, dict[str, Any]]]) -> None:
        for kind, data in drafts:
            self._journal.add(kind, data)


def _refused_key(task: Task, failure: AttemptError) -> AttemptError:
    """Name the key that the provider refuses: waiting for other credentials would not help."""
    key = task.profile.provider.key_secret
    where = f"Secret {key.name}, key {key.key}" if key else "the profile's Secret"
    text = f"The model's provider refuses the key in {where}: {failure.message}"
    return AttemptError(Reason.AUTH_REQUIRED, text)
