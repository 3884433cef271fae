"""The driver of a remote agent: it sends the task, follows it, and forwards its questions."""

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

from agentrun.api.events import EventType
from agentrun.api.gateway import Task
from agentrun.api.printable import printable
from agentrun.api.v1alpha1 import AgentState, OutcomeState, Question, Reason, RemoteRef
from agentrun.runner.a2a.client import Remote, connect
from agentrun.runner.a2a.config import ShownCredentials, choose, read_config
from agentrun.runner.a2a.errors import RemoteError
from agentrun.runner.a2a.following import Canceller, TaskFollower
from agentrun.runner.a2a.mapping import WAITING, TaskMapper, check_structured, end_of, final_data
from agentrun.runner.a2a.messages import build_message, parts_of, text_parts
from agentrun.runner.gateway import Gateway
from agentrun.runner.journal.journal import Journal
from agentrun.runner.outcome import WAITING_END, AttemptError, End, invalid_answer
from agentrun.runner.prompt import build_prompt, build_repair
from agentrun.runner.questions import QuestionExpiredError, Questions
from agentrun.runner.snapshot.manifest import DriverState, Manifest, ResumePoint, acknowledged_input
from agentrun.runner.status_reporter import StatusReporter

_MAX_QUESTION = 32_000
_MAX_NAME = 256
PAUSE_SECONDS = 1.0
"""After a pause of this many seconds, what has arrived of an artifact is published."""

Raw = dict[str, Any]


class A2aDriver:
    """Drives the tasks of a remote agent, one after the other."""

    def __init__(
        self,
        gateway: Gateway,
        journal: Journal,
        reporter: StatusReporter,
        questions: Questions,
        clean: Callable[[str], str],
        given: ShownCredentials,
    ) -> None:
        self._journal = journal
        self._reporter = reporter
        self._questions = questions
        self._clean = clean
        self._given = given
        self._stack = AsyncExitStack()
        self._remote: Remote | None = None
        self._mapper = TaskMapper("", "")
        self._canceller = Canceller(gateway, journal, self._mapper)
        self._gateway = gateway
        self._task: Task | None = None
        self._origin: ResumePoint | None = None
        self._prompt_sent = False
        self._last_event = 0.0

    async def listen(self) -> None:
        """Publish what has arrived of an artifact when the agent pauses; does not return."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS / 2)
            if time.monotonic() - self._last_event >= PAUSE_SECONDS:
                self._add(self._mapper.flush())

    async def start(self, task: Task, cwd: str, origin: ResumePoint | None) -> None:
        """
        Read the agent's card, find an earlier attempt's task, and record that the run started.

        Raises AttemptError if the agent cannot be reached or the task cannot be resumed.
        """
        self._task, self._origin = task, origin
        self._questions.acknowledged = acknowledged_input(task, origin)
        config = read_config(task.spec.backend_config, self._given.key_url)
        self._mapper.agent_url = config.agent_url
        headers = choose(self._given, config)
        self._remote = remote = await self._stack.enter_async_context(connect(config, headers))
        self._mapper = mapper = TaskMapper(config.agent_url, remote.name)
        self._canceller = Canceller(self._gateway, self._journal, mapper)
        if origin is not None:
            mapper.context_id = origin.manifest.session_id
        if origin is not None and origin.is_own and origin.manifest.remote_task:
            await self._find_again(remote, origin.manifest.remote_task)
        ref = mapper.remote_ref
        started = {"remote_ref": ref, "agent_name": remote.name, "agent_url": config.agent_url}
        self._journal.add(EventType.RUN_STARTED, {**started, "attempt": task.attempt})

    async def _find_again(self, remote: Remote, task: str) -> None:
        """Read the task of an earlier pod. Its events have been recorded before."""
        self._mapper.task_id = task
        try:
            self._mapper.feed(await remote.get(task))
        except RemoteError as error:
            message = (
                f"Remote task {task} cannot be resumed: {error}. To do the work again, start a new"
                " run (continue_run with from_start)."
            )
            raise AttemptError(Reason.SESSION_NOT_RESUMABLE, message) from error

    async def run(self) -> End:
        """Send the task, and follow it until it has finished or a question has expired."""
        task, origin = self._task, self._origin
        assert task is not None, "start comes first"
        assert self._remote is not None, "start comes first"
        own = origin.manifest if origin and origin.is_own else None
        follower = TaskFollower(self._remote, self._mapper, self._receive)
        try:
            await self._begin(follower, task, own, is_new=origin is None)
            return await self._until_done(follower, task)
        except QuestionExpiredError:
            self._canceller.keep_waiting_task()
            return WAITING_END

    async def _begin(
        self, follower: TaskFollower, task: Task, own: Manifest | None, is_new: bool
    ) -> None:
        """Send the agent its task; follow one that an earlier pod has sent."""
        if own is None:
            await self._announce_prompt()
            instructions = task.profile.instructions if is_new else None
            parts, message = _first_parts(task, instructions), task.spec.input_message
            metadata = message.metadata if message else None
            await follower.turn(self._message(parts, task, metadata))
        elif self._mapper.state in WAITING and own.question is not None:
            await self._answer(follower, task, own.question, was_asked=True)
        else:
            await follower.watch()

    async def _until_done(self, follower: TaskFollower, task: Task) -> End:
        """Forward the agent's questions, and request one repair of an invalid structured answer."""
        schema, first = task.spec.output_schema, None
        while True:
            if self._mapper.state in WAITING:
                await self._answer(follower, task, self._question())
                continue
            end = end_of(self._mapper)
            if schema is None or end.state is not OutcomeState.COMPLETED:
                return end
            try:
                structured = await check_structured(self._mapper, schema)
                return replace(end, structured=structured)
            except ValueError as problem:
                if first is not None:
                    raise invalid_answer(first, problem) from problem
                first = problem
            repair = text_parts(build_repair(str(first), schema))
            # A finished task accepts no more messages: a new task continues its context.
            self._mapper.begin_turn(new_task=True)
            await follower.turn(self._message(repair, task))

    async def _answer(
        self, follower: TaskFollower, task: Task, question: Question, was_asked: bool = False
    ) -> None:
        """Ask a person the remote agent's question, and send the answer."""
        if was_asked:
            answer = await self._questions.wait(question)
        else:
            ids = {"task_id": self._mapper.task_id, "context_id": self._mapper.context_id}
            self._add(self._mapper.flush())
            answer = await self._questions.ask(question, **ids)
        self._prompt_sent = True
        self._mapper.begin_turn(new_task=False)
        await self._questions.acknowledge(answer)
        reply = answer.message
        await follower.turn(self._message(parts_of(reply), task, reply.metadata))

    def _question(self) -> Question:
        is_auth = WAITING[self._mapper.state] is EventType.AUTH_REQUIRED
        kind: Literal["auth", "input"] = "auth" if is_auth else "input"
        text = printable(self._clean(self._mapper.status_text))
        if len(text) > _MAX_QUESTION:
            left_out = f"{len(text) - _MAX_QUESTION} of {len(text)} characters are not shown"
            text = f"{text[:_MAX_QUESTION]}\n[{left_out}]"
        return Question(
            id=self._questions.new_id(kind),
            kind=kind,
            text=text or "The remote agent requests input, but does not state what it needs.",
            asked_at=datetime.now(UTC),
        )

    async def interrupt(self) -> None:
        """
        Cancel the remote task, also one whose id is not known yet; ``stop_message`` has the result.
        """
        if self._remote is not None and (self._prompt_sent or self._mapper.task_id):
            await self._canceller.cancel(self._remote, self._questions.acknowledged)

    async def end_session(self, seconds: float) -> None:
        """Record what the agent has left open; the remote agent stores the conversation itself."""
        self._add(self._mapper.finish())

    async def stop(self) -> bool:
        """Return True immediately: there is no process in the pod."""
        return True

    async def close(self) -> None:
        """Close the connection."""
        await self._stack.aclose()

    def state(self) -> DriverState:
        """Return the state of the conversation, whose id is the A2A context's."""
        return DriverState(
            session_id=self._mapper.context_id or "",
            remote_task=self._mapper.task_id or None,
            prompt_sent=self._prompt_sent,
            acknowledged=self._questions.acknowledged,
            question=self._questions.current,
            question_call=self._questions.current_call,
        )

    def final_data(self, state: OutcomeState) -> Raw:
        """Return the remote task's data for the final event of a run that ends in ``state``."""
        return final_data(self._mapper, state)

    @property
    def stop_message(self) -> str:
        """What became of the remote task when the runner was stopped."""
        return self._canceller.message

    async def _receive(self, event: Raw) -> None:
        self._last_event = time.monotonic()
        before = (self._mapper.task_id, self._mapper.context_id)
        self._add(self._mapper.feed(event))
        await self._journal.room()
        if self._mapper.task_id:
            self._canceller.named.set()
        if before != (self._mapper.task_id, self._mapper.context_id):
            await self._report(AgentState.WORKING)

    async def _announce_prompt(self) -> None:
        """Report that the prompt is sent, before it is: a retry after that is another attempt."""
        self._prompt_sent = True
        await self._report(AgentState.WORKING, prompt_sent=True, question=None)
        await self._reporter.settled_soon()

    async def _report(self, state: AgentState, **more: Any) -> None:
        ref = {key: self._clean(text) if text else text for key, text in
               self._mapper.remote_ref.items()}  # fmt: skip
        for key in ("agent_name", "context_id", "task_id"):
            ref[key] = ref[key] and ref[key][:_MAX_NAME]
        session = (self._mapper.context_id or "")[:_MAX_NAME] or None
        more["remote_ref"] = RemoteRef.model_validate(ref)
        await self._reporter.update(state=state, session_id=session, **more)

    def _message(self, parts: list[Raw], task: Task, metadata: Raw | None = None) -> Raw:
        ids = (self._mapper.context_id, self._mapper.task_id)
        return build_message(uuid.uuid4().hex, parts, task, *ids, metadata)

    def _add(self, drafts: list[tuple[EventType, Raw]]) -> None:
        for kind, data in drafts:
            self._journal.add(kind, data)


def _first_parts(task: Task, instructions: str | None) -> list[Raw]:
    """Build the parts of the first message: the prompt as text, then the input message's parts."""
    message = task.spec.input_message
    text = build_prompt(task.spec.model_copy(update={"input_message": None}), instructions)
    return [*(text_parts(text) if text else []), *(parts_of(message) if message else [])]
