"""
The conversation with an ACP agent: its prompt turns and their results.

The result of a turn is checked here: errors of the provider, and the structured answer.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import acp

from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import AgentState, OutcomeState, Question, Reason, Usage
from agentrun.backends import backend_of
from agentrun.runner.acp.client import AcpAgent
from agentrun.runner.acp.mailbox import Mailbox
from agentrun.runner.acp.mapping import UpdateMapper, find_answer
from agentrun.runner.acp.permissions import PermissionBroker
from agentrun.runner.acp.services import PodServices
from agentrun.runner.acp.session import SessionOpener, UpdateRecorder
from agentrun.runner.acp.transport import TransportContext
from agentrun.runner.acp.turn_result import (
    RunUsage,
    classify,
    end_of_turn,
    is_provider_error,
    is_unanswered,
    unanswered,
    usage_of,
)
from agentrun.runner.gateway import Gateway
from agentrun.runner.home import ASK
from agentrun.runner.journal.journal import Journal
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import WAITING_END, AttemptError, End, invalid_answer
from agentrun.runner.pipes import Pipes
from agentrun.runner.prompt import CONTINUE, build_answer, build_prompt, build_repair
from agentrun.runner.provider.proxy import ProviderError, ProviderProxy
from agentrun.runner.questions import QuestionExpiredError, Questions
from agentrun.runner.settings import Settings
from agentrun.runner.snapshot.manifest import DriverState, Manifest, ResumePoint, acknowledged_input
from agentrun.runner.status_reporter import StatusReporter
from agentrun.runner.tasks import cancel

_CANCEL_SECONDS = 5.0


@dataclass(frozen=True)
class _Started:
    """What the prompts need once the agent has a session."""

    task: Task
    origin: ResumePoint | None
    answer_tool: str | None
    """The agent's own tool for an answer that satisfies a schema, if it has one."""
    proxy: ProviderProxy | None
    serving: AsyncExitStack
    """Ends what the runner serves to the agent."""

    @property
    def own(self) -> Manifest | None:
        """The snapshot of an earlier attempt of the same run, if the run resumes from one."""
        return self.origin.manifest if self.origin and self.origin.is_own else None

    @property
    def has_key(self) -> bool:
        """Whether the profile names the key that the proxy adds to the agent's requests."""
        return self.task.profile.provider.key_secret is not None

    @property
    def turn_ends(self) -> Sequence[asyncio.Event]:
        """The provider's events that end a turn."""
        if self.proxy is None:
            return []
        return [self.proxy.failed, *([self.proxy.refused] if self.has_key else [])]

    @property
    def provider_error(self) -> ProviderError | None:
        """The provider's last answer, if it was an error."""
        return self.proxy.error if self.proxy else None

    @property
    def failure(self) -> ProviderError | None:
        """Why the provider let the turn fail: a refusal of the credentials, or its last error."""
        return (self.proxy.refusal if self.proxy else None) or self.provider_error


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
        self._reporter = reporter
        self._questions = questions
        self._clean = redactor.text
        self._mapper = UpdateMapper(
            redactor.text, redactor.safe_length, redactor.continuation, workspace
        )
        self._updates = UpdateRecorder(journal, self._mapper)
        self._permissions = PermissionBroker(
            journal, questions, redactor.text, workspace, self._mapper.announced,
            self._updates.publish,
        )  # fmt: skip
        around = TransportContext(redactor, journal.new_file, journal.room)
        self._agent = AcpAgent(pipes, self._updates.take, self._permissions.note, around)
        self._mailbox = Mailbox(self._agent, journal, gateway)
        self._services = PodServices(settings, layout, pipes, gateway)
        self._started: _Started | None = None
        self._usage = RunUsage()
        self._last_prompt: str | None = None
        """Sent again after a person has renewed the credentials; None before the first prompt."""
        self._is_unanswered = False
        """Whether the model had no part in the last turn."""

    async def listen(self) -> None:
        """Follow the agent, and publish pending text when it pauses; does not return."""
        await asyncio.gather(self._agent.listen(), self._updates.publish_pauses())

    async def start(self, task: Task, cwd: str, origin: ResumePoint | None) -> None:
        """Start the agent's program, open its session, and record that the run has started."""
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
                self._usage = RunUsage.resumed(origin)
            opener = SessionOpener(self._agent, self._updates, task, cwd, servers)
            answer_tool = await opener.open(origin)
            self._started = _Started(task, origin, answer_tool, served.proxy, stack.pop_all())

    async def run(self) -> End:
        """Run the task until the agent has finished, or until a question has expired."""
        started = self._started
        assert started is not None, "start comes first"
        task, origin = started.task, started.origin
        known = origin.manifest.delivered_message if origin else 0
        self._mailbox.open(task.profile.agent_tools.deliver_messages, known)
        async with started.serving:
            try:
                prompt = await self._first_prompt(started)
                while True:
                    try:
                        return await self._structured(started, await self._turns(started, prompt))
                    except AttemptError as failure:
                        if failure.reason is not Reason.AUTH_REQUIRED:
                            raise
                        if started.has_key:
                            raise _refused_key(task, failure) from failure
                        await self._wait_for_permission(failure)
                        prompt = self._last_prompt or ""
            except QuestionExpiredError:
                return WAITING_END

    async def _first_prompt(self, started: _Started) -> str:
        """Return the first prompt: the task, or the answer to a question of an earlier attempt."""
        task, own = started.task, started.own
        if own is None:
            # The conversation already contains the profile's instructions.
            instructions = None if started.origin else task.profile.instructions
            return build_prompt(task.spec, instructions, started.answer_tool)
        question = own.question
        if question is None:
            return CONTINUE
        answer = await self._questions.wait(question, call=own.question_call)
        await self._questions.acknowledge(answer)
        if question.kind == "auth":
            return build_prompt(task.spec, None, started.answer_tool)
        response_text = self._permissions.restore_answer(question, answer, own.question_call)
        return build_answer(
            question.text, response_text, task.spec.output_schema, started.answer_tool
        )

    async def _turns(self, started: _Started, prompt: str) -> End:
        """Run a turn, and one more for each reply or batch of messages that arrived meanwhile."""
        end = await self._turn(started, prompt)
        if end.state is OutcomeState.COMPLETED and self._is_unanswered:
            return unanswered(end)
        while end.state is OutcomeState.COMPLETED:
            more = self._permissions.take_reply() or await self._mailbox.next_turn(end)
            if not more:
                break
            end = await self._turn(started, more)
        return end

    async def _turn(self, started: _Started, text: str) -> End:
        self._mapper.begin_turn()
        self._permissions.begin_turn()
        if started.proxy:
            started.proxy.begin_turn()
        await self._announce_prompt(text)
        try:
            async with self._mailbox.turn():
                response = await self._prompt(text, started.turn_ends)
            # Before the tail: Codex has a title made after its turn, and that may succeed.
            seen, proxy = started.provider_error, started.proxy
            was_asked = proxy.was_asked if proxy else None
            if response is not None:
                await self._updates.tail()
        except acp.RequestError as error:
            raise classify(error.code, str(error), error.data, started.failure) from error
        finally:
            self._updates.end_turn()
        if response is None:
            message = "the provider does not process requests"
            raise classify(0, message, None, started.failure)
        response_text = self._mapper.final_response
        if is_provider_error(backend_of(started.task.spec.backend), response_text, seen):
            raise classify(0, "the provider answered with an error", None, seen)
        used = await self._count(response)
        # Some agents end their turn as cancelled when a permission was refused.
        is_refusal = self._permissions.was_refused and response.stop_reason == "cancelled"
        self._is_unanswered = not (self._mapper.has_worked or is_refusal) and is_unanswered(
            backend_of(started.task.spec.backend), response_text, used, was_asked
        )
        return end_of_turn("end_turn" if is_refusal else response.stop_reason, response_text)

    async def _announce_prompt(self, text: str) -> None:
        """Report the prompt before it is sent: a retry after that is another attempt."""
        self._last_prompt = text
        await self._reporter.update(
            state=AgentState.WORKING, session_id=self._agent.session_id, prompt_sent=True,
            question=None,
        )  # fmt: skip
        await self._reporter.settled_soon()

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

    async def _count(self, response: acp.PromptResponse) -> Usage | None:
        answer = response.model_dump(mode="json", by_alias=True, exclude_none=True, warnings=False)
        used = usage_of(answer, self._mapper.cost)
        self._usage = self._usage.plus(used)
        await self._reporter.update(usage=self._usage.used)
        return used

    async def _structured(self, started: _Started, end: End) -> End:
        """Check the answer against the schema; the agent may repair it once."""
        schema = started.task.spec.output_schema
        if schema is None or end.state is not OutcomeState.COMPLETED:
            return end
        try:
            return await self._answered(end, schema)
        except ValueError as problem:
            first = problem
        repair = build_repair(str(first), schema, started.answer_tool)
        end = await self._turn(started, repair)
        if end.state is not OutcomeState.COMPLETED:
            return end
        try:
            return await self._answered(end, schema)
        except ValueError as problem:
            raise invalid_answer(first, problem) from problem

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

    async def interrupt(self) -> None:
        """Cancel the agent's turn."""
        await self._agent.cancel()

    async def end_session(self, seconds: float) -> None:
        """End the items that the agent has left open, and close its session."""
        try:
            self._updates.end_turn()
        finally:
            if self._last_prompt is not None:
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
            prompt_sent=self._last_prompt is not None,
            acknowledged=self._questions.acknowledged,
            delivered=self._mailbox.delivered,
            question=self._questions.current,
            question_call=self._questions.current_call,
            usage=self._usage.used,
            cost=self._usage.cost,
        )

    def final_data(self, state: OutcomeState) -> dict[str, Any]:
        """Return nothing: the run's first events name the conversation."""
        return {}


def _refused_key(task: Task, failure: AttemptError) -> AttemptError:
    """Name the key that the provider refuses: waiting for other credentials would not help."""
    key = task.profile.provider.key_secret
    where = f"Secret {key.name}, key {key.key}" if key else "the profile's Secret"
    text = f"The model's provider refuses the key in {where}: {failure.message}"
    return AttemptError(Reason.AUTH_REQUIRED, text)
