"""
The conversation with a remote agent: the same life as with one in the pod, without the pod's pipes.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

from agentrun.api.events import EventType
from agentrun.api.gateway import Task
from agentrun.api.printable import printable
from agentrun.api.v1alpha1 import AgentState, OutcomeState, Question, Reason, RemoteRef, Usage
from agentrun.runner.a2a.cancelling import Canceller
from agentrun.runner.a2a.client import Remote, connect
from agentrun.runner.a2a.config import read_config
from agentrun.runner.a2a.credentials import ShownCredentials, choose
from agentrun.runner.a2a.ending import check_structured, end_of, final_data
from agentrun.runner.a2a.errors import RemoteError
from agentrun.runner.a2a.following import Follower
from agentrun.runner.a2a.mapping import WAITING, Mapper
from agentrun.runner.a2a.messages import build_message, parts_of, text_parts
from agentrun.runner.gateway import Gateway
from agentrun.runner.journal import Journal
from agentrun.runner.outcome import WAITING_END, AttemptError, End
from agentrun.runner.prompt import build_prompt, build_repair
from agentrun.runner.questions import QuestionExpiredError, Questions
from agentrun.runner.snapshot.manifest import Manifest
from agentrun.runner.snapshot.restore import ResumePoint
from agentrun.runner.status_reporter import StatusReporter
from agentrun.runner.structured import invalid

_MAX_QUESTION = 32_000
_MAX_NAME = 256

Raw = dict[str, Any]


class A2aDriver:
    """One task after the other of a remote agent."""

    def __init__(
        self,
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
        self._mapper = Mapper("", "")
        self._canceller = Canceller(journal, self._mapper)
        self._gateway: Gateway | None = None
        self.usage: Usage | None = None
        self.cost: str | None = None
        self.delivered = 0
        self.mcp_capabilities = None
        self.prompt_sent = False

    @property
    def agent(self) -> "A2aDriver":
        """The other side; it has no process that would have to be handled apart."""
        return self

    def note_read(self, seq: int) -> None:
        """Do nothing: there is no agent in the pod that could ask."""

    async def acknowledge(self) -> None:
        """Do nothing: messages of other agents are not put into the conversation."""

    @property
    def session_id(self) -> str:
        """The conversation's id at the remote agent; empty before it was told."""
        return self._mapper.context_id or ""

    @property
    def task_id(self) -> str:
        """The newest task's id there."""
        return self._mapper.task_id or ""

    def final_data(self, state: OutcomeState) -> Raw:
        """Return what the last event of a run that ends so says of the task."""
        return final_data(self._mapper, state)

    @property
    def stop_message(self) -> str:
        """What became of the remote task when the run was told to stop."""
        return self._canceller.words

    async def listen(self) -> None:
        """Do nothing, for ever: a remote agent only speaks when it is asked."""
        await asyncio.Event().wait()

    async def begin(self) -> None:
        """Do nothing: a remote agent is there."""

    async def handshake(self) -> None:
        """Do nothing: the card is read once the task is known."""

    async def close_session(self, seconds: float) -> None:
        """Do nothing: the conversation is kept where the agent is."""

    def end(self) -> None:
        """Do nothing: there is no process to end."""

    async def ended(self) -> bool:
        """Return at once: nothing of it is in the pod."""
        return True

    async def close(self) -> None:
        """Close the connection."""
        await self._stack.aclose()

    async def open(
        self, task: Task, cwd: str, servers: Sequence[Any] = (), origin: ResumePoint | None = None
    ) -> None:
        """Read the agent's card, find an earlier task again, and say that the run has started."""
        config = read_config(task.spec.backend_config, self._given.key_url)
        self._mapper.agent_url = config.agent_url
        headers = choose(self._given, config)
        self._remote = remote = await self._stack.enter_async_context(connect(config, headers))
        self._mapper = mapper = Mapper(config.agent_url, remote.name)
        self._canceller = Canceller(self._journal, mapper)
        if origin is not None:
            mapper.context_id = origin.manifest.session_id
        if origin is not None and origin.is_own and origin.manifest.remote_task:
            await self._find_again(remote, origin.manifest.remote_task)
        ref = mapper.remote_ref
        started = {"remote_ref": ref, "agent_name": remote.name, "agent_url": config.agent_url}
        self._journal.add(EventType.RUN_STARTED, {**started, "attempt": task.attempt})

    async def _find_again(self, remote: Remote, task: str) -> None:
        """Look at the task that an earlier pod left. What it says was told before."""
        self._mapper.task_id = task
        try:
            self._mapper.feed(await remote.get(task))
        except RemoteError as error:
            message = (
                f"Remote task {task} cannot be taken up again: {error}. To do the work anew, start"
                " a new run (continue_run with from_start)."
            )
            raise AttemptError(Reason.SESSION_NOT_RESUMABLE, message) from error

    async def work(
        self, task: Task, proxy: object, gateway: Gateway, origin: ResumePoint | None = None
    ) -> End:
        """Give the agent its task, and stay with it until it is done, or waits for too long."""
        assert self._remote is not None, "open comes first"
        own = origin.manifest if origin and origin.is_own else None
        self._gateway = gateway
        self._questions.open(gateway, own.acknowledged_input if own else task.acknowledged_input)
        follower = Follower(self._remote, self._mapper, self._receive)
        try:
            await self._begin(follower, task, own, is_new=origin is None)
            return await self._until_done(follower, task)
        except QuestionExpiredError:
            self._canceller.keep_waiting_task()
            return WAITING_END

    async def _begin(
        self, follower: Follower, task: Task, own: Manifest | None, is_new: bool
    ) -> None:
        """Give the agent its task; one that an earlier pod has given it is only looked after."""
        if own is None:
            await self._announce_prompt()
            instructions = task.profile.instructions if is_new else None
            parts, told = _first_parts(task, instructions), task.spec.input_message
            metadata = told.metadata if told else None
            await follower.turn(self._message(parts, task, metadata))
        elif self._mapper.state in WAITING and own.question is not None:
            await self._answer(follower, task, own.question, was_asked=True)
        else:
            await follower.watch()

    async def _until_done(self, follower: Follower, task: Task) -> End:
        """Ask people what the agent asks, and have an answer of the wrong form mended once."""
        schema, is_mended = task.spec.output_schema, False
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
                if is_mended:
                    raise invalid(problem) from problem
                repair = text_parts(build_repair(str(problem), schema))
            is_mended = True
            # A task that has ended takes no more messages: its context goes on.
            self._mapper.begin_turn(new_task=True)
            await follower.turn(self._message(repair, task))

    async def _answer(
        self, follower: Follower, task: Task, question: Question, was_asked: bool = False
    ) -> None:
        """Ask a person what the remote agent asks, and give it their answer."""
        if was_asked:
            answer = await self._questions.wait(question)
        else:
            ids = {"task_id": self._mapper.task_id, "context_id": self._mapper.context_id}
            answer = await self._questions.ask(question, **ids)
        self.prompt_sent = True
        self._mapper.begin_turn(new_task=False)
        await self._questions.acknowledge(answer)
        said = answer.message
        await follower.turn(self._message(parts_of(said), task, said.metadata))

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
            text=text or "The remote agent does not say what it needs.",
            asked_at=datetime.now(UTC),
        )

    def end_turn(self) -> None:
        """Tell of what the agent still had under way."""
        self._add(self._mapper.finish())

    async def cancel(self) -> None:
        """Cancel the remote task, also one whose id is not known yet; say how that went."""
        if self._remote is not None and (self.prompt_sent or self._mapper.task_id):
            await self._canceller.cancel(self._remote, self._gateway, self._questions.acknowledged)

    async def _receive(self, event: Raw) -> None:
        before = (self._mapper.task_id, self._mapper.context_id)
        self._add(self._mapper.feed(event))
        await self._journal.room()
        if self._mapper.task_id:
            self._canceller.named.set()
        if before != (self._mapper.task_id, self._mapper.context_id):
            await self._report(AgentState.WORKING)

    async def _announce_prompt(self) -> None:
        """Say that the prompt goes out, before it does: an attempt after that is another one."""
        self.prompt_sent = True
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
    """Say the task: in words what was said in words, and the message's parts as they are."""
    told = task.spec.input_message
    text = build_prompt(task.spec.model_copy(update={"input_message": None}), instructions)
    return [*(text_parts(text) if text else []), *(parts_of(told) if told else [])]
