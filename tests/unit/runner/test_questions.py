"""Asking people: one thing at a time."""

import asyncio
from typing import Any

import pytest

from agentrun.api.gateway import Inputs
from agentrun.api.v1alpha1 import Input, Question
from agentrun.runner.questions import QuestionExpiredError, Questions
from tests.unit.runner.harness import an_answer
from tests.waiting import LATE_SECONDS


class People:
    """The gateway, the journal and the reporter of a run, as far as questions go."""

    def __init__(self) -> None:
        self.open: str | None = None
        self.asked: list[str] = []
        self.inputs_there: list[Input] = []
        self._changed = asyncio.Event()

    def add(self, _: Any, data: dict[str, Any]) -> None:
        if "question_id" in data:
            self.asked.append(data["question_id"])
        self._changed.set()

    async def update(self, *, question: Question | None, **_: Any) -> None:
        self.open = question.id if question else None

    async def inputs(self, after: int) -> Inputs:
        while not (new := [one for one in self.inputs_there if one.seq > after]):
            self._changed.clear()
            await self._changed.wait()
        return Inputs(inputs=new, desired_state="Active")

    def answer(self, question: str) -> None:
        seq = len(self.inputs_there) + 1
        self.inputs_there.append(Input(seq=seq, question_id=question, message=an_answer("yes")))
        self._changed.set()

    async def until_asked(self, question: str) -> None:
        async with asyncio.timeout(LATE_SECONDS):
            while question not in self.asked:  # noqa: ASYNC110 - it sets no event
                await asyncio.sleep(0)


def some_questions(people: Any, idle: float = 60) -> Questions:
    return Questions(people, people, people, 1, idle)


def a_question(name: str, kind: str = "permission") -> Question:
    return Question(id=name, kind=kind, text="May I?")


async def put(questions: Questions, question: Question) -> int:
    answer = await questions.ask(question)
    await questions.acknowledge(answer)
    return answer.seq


async def test_two_concurrent_questions_each_get_their_answer() -> None:
    people = People()
    questions = some_questions(people)
    first = asyncio.create_task(put(questions, a_question("permission-1-1")))
    second = asyncio.create_task(put(questions, a_question("auth-1-2", "auth")))
    await people.until_asked("permission-1-1")
    assert people.asked == ["permission-1-1"]
    people.answer("permission-1-1")
    await people.until_asked("auth-1-2")
    people.answer("auth-1-2")
    async with asyncio.timeout(LATE_SECONDS):
        assert list(await asyncio.gather(first, second)) == [1, 2]
    assert (people.open, questions.current, questions.acknowledged) == (None, None, 2)


async def test_no_question_is_asked_after_one_has_expired() -> None:
    people = People()
    questions = some_questions(people, idle=0.01)
    given = await asyncio.gather(
        questions.ask(a_question("permission-1-1")),
        questions.ask(a_question("auth-1-2", "auth")),
        return_exceptions=True,
    )
    assert [type(one) for one in given] == [QuestionExpiredError, QuestionExpiredError]
    assert people.asked == ["permission-1-1"]
    assert questions.current is not None
    assert questions.current.id == "permission-1-1", "that is what a snapshot is to say"
    with pytest.raises(QuestionExpiredError):
        await questions.wait(a_question("permission-1-1"))
