"""
Questions to people, and their answers.

One question is open at a time. Its answer is an input of the run. A snapshot records which inputs
the conversation contains, and which question is open. If there is no answer within the idle
timeout, the question expires and the pod is not kept.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agentrun.api.events import EventType
from agentrun.api.v1alpha1 import AgentState, Input, Question
from agentrun.backoff import Backoff
from agentrun.runner.gateway import Gateway, GatewayRefusedError, GatewayUnavailableError
from agentrun.runner.journal.journal import Journal
from agentrun.runner.status_reporter import StatusReporter

_PAUSES = (0.2, 0.5, 1.0)
_STATES = {
    "auth": AgentState.AUTH_REQUIRED,
    "input": AgentState.INPUT_REQUIRED,
    "permission": AgentState.INPUT_REQUIRED,
}
_EVENTS = {AgentState.AUTH_REQUIRED: EventType.AUTH_REQUIRED}

log = logging.getLogger(__name__)


class QuestionExpiredError(Exception):
    """There was no answer within the idle timeout, so the pod is not kept."""


class Questions:
    """Asks questions, and waits for their answers."""

    def __init__(
        self,
        journal: Journal,
        reporter: StatusReporter,
        gateway: Gateway,
        attempt: int,
        idle: float,
    ) -> None:
        self._journal = journal
        self._reporter = reporter
        self._attempt = attempt
        self._idle = idle
        self._gateway = gateway
        self._asked = 0
        # Two waiting callers would each skip, and so lose, the answer to the other's question.
        self._turn = asyncio.Lock()
        self.acknowledged = 0
        """The seq of the newest input that the conversation contains; inputs after it are read."""
        self.current: Question | None = None
        """The open question."""
        self.current_call: str | None = None
        """The digest of the tool call that the open question asks permission for."""
        self.expired = asyncio.Event()
        """Set once a question has expired."""

    def new_id(self, kind: str) -> str:
        """Return a new question id. Answers to questions of other attempts do not match it."""
        self._asked += 1
        return f"{kind}-{self._attempt}-{self._asked}"

    async def ask(self, question: Question, *, call: str | None = None, **data: Any) -> Input:
        """
        Ask, and wait for the answer. Raises QuestionExpiredError if there is none in time.

        ``call`` is the digest of the tool call that permission is asked for.
        """
        event = _EVENTS.get(_STATES[question.kind], EventType.INPUT_REQUIRED)
        async with self._one_at_a_time():
            self._journal.add(event, {"text": question.text, "question_id": question.id, **data})
            return await self._wait(question, call)

    async def wait(self, question: Question, *, call: str | None = None) -> Input:
        """Wait for the answer to a question that was asked before."""
        async with self._one_at_a_time():
            return await self._wait(question, call)

    @asynccontextmanager
    async def _one_at_a_time(self) -> AsyncIterator[None]:
        async with self._turn:
            if self.expired.is_set():
                raise QuestionExpiredError
            yield

    async def _wait(self, question: Question, call: str | None) -> Input:
        self.current, self.current_call = question, call
        await self._reporter.update(state=_STATES[question.kind], question=question)
        try:
            async with asyncio.timeout(self._idle):
                return await self._answer(question)
        except TimeoutError as error:
            self.expired.set()
            raise QuestionExpiredError from error

    async def acknowledge(self, answer: Input) -> None:
        """Record that the agent was given the answer, and continues."""
        self.current = self.current_call = None
        self.acknowledged = max(self.acknowledged, answer.seq)
        self._journal.add(EventType.STATUS_CHANGED, {"status": "running", "reason": "continue_run"})
        await self._reporter.update(
            state=AgentState.WORKING, question=None, acknowledged_input=self.acknowledged
        )

    async def _answer(self, question: Question) -> Input:
        while True:
            for one in await self._inputs(self.acknowledged):
                if one.question_id in (None, question.id):
                    return one
                self._ignore(one, question)

    async def _inputs(self, after: int) -> list[Input]:
        backoff = Backoff(_PAUSES)
        while True:
            try:
                inputs = (await self._gateway.inputs(after)).inputs
            except (GatewayUnavailableError, GatewayRefusedError) as error:
                log.warning("The gateway returns no inputs: %s", error)
                await backoff.wait()
                continue
            backoff.reset()
            if inputs:
                return sorted(inputs, key=lambda one: one.seq)

    def _ignore(self, one: Input, question: Question) -> None:
        # Acknowledged, so that later attempts do not read it again.
        self.acknowledged = one.seq
        text = (
            f"Input {one.seq} answers question {one.question_id}, which is no longer open;"
            f" the open question is {question.id}."
        )
        self._journal.add(EventType.REASONING, {"text": text})
