"""Asks a person for the permissions that the profile does not grant."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from acp.schema import PermissionOption

from agentrun.api.events import EventType
from agentrun.api.messages import render_text
from agentrun.api.v1alpha1 import Input, Question
from agentrun.runner.acp.mapping import Announced, permission_text
from agentrun.runner.acp.permissions import (
    Permission,
    chosen_option,
    names_option,
    permission_question,
    refuses,
    refusing_option,
)
from agentrun.runner.journal.journal import Journal
from agentrun.runner.questions import QuestionExpiredError, Questions


class PermissionBroker:
    """Asks for permissions, and stores the answers that the agent has not received yet."""

    def __init__(
        self,
        journal: Journal,
        questions: Questions,
        clean: Callable[[str], str],
        workspace: str,
        announced: Callable[[str], Announced],
    ) -> None:
        self._journal = journal
        self._questions = questions
        self._clean = clean
        self._workspace = workspace
        self._announced = announced
        self._asking = asyncio.Lock()
        self._granted: tuple[str, str] | None = None
        """The digest of a call of an earlier pod, and the option that a person chose for it."""
        self._said: list[str] = []
        self.was_refused = False
        """Whether a person refused something in this turn."""

    def begin_turn(self) -> None:
        """Reset ``was_refused`` for a new turn."""
        self.was_refused = False

    def take_reply(self) -> str | None:
        """Return a person's reply that chose no option: the agent's next prompt. None if none."""
        return self._said.pop(0) if self._said else None

    async def ask(self, tool_call: dict[str, Any], options: list[PermissionOption]) -> str | None:
        """Return a person's choice; one question at a time. None if no option can be chosen."""
        async with self._asking:
            name = self._questions.new_id("permission")
            tool_call, is_whole = self._known(tool_call)
            asked = permission_question(name, tool_call, options, self._clean, is_whole=is_whole)
            if (granted := self._grant(tool_call, asked)) is not None:
                return granted
            question = asked.question
            offered = [one.model_dump(include={"id", "name"}) for one in question.options]
            try:
                answer = await self._questions.ask(
                    question, call=asked.digest, options=offered, tool_call=tool_call
                )
            except QuestionExpiredError:
                # The turn is cancelled, which answers the request.
                return await asyncio.Future()
            chosen = self._chosen(answer, asked.options)
            self.note(tool_call, chosen.name if chosen else "cancelled")
            await self._questions.acknowledge(answer)
            return chosen.option_id if chosen else None

    def restore_answer(self, question: Question, answer: Input, call: str | None) -> str:
        """
        Apply the answer to a question of an earlier pod, and return the answer as text.

        If it chooses an option, and the agent requests the same call again, whose digest is
        ``call``, that request is answered with the option, once and without a question.
        """
        option = names_option(answer.message, question)
        if option is None:
            return render_text(answer.message)
        if call is not None:
            self._granted = (call, option.id)
        return option.name or option.id

    def note(self, tool_call: dict[str, Any], answer: str) -> None:
        """Record a permission request and its answer in the journal."""
        text = permission_text(self._known(tool_call)[0], answer, self._workspace)
        self._journal.add(EventType.REASONING, {"text": text})

    def _known(self, tool_call: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Add the call's fields from its announcement; return whether the call is complete."""
        before = self._announced(str(tool_call.get("toolCallId")))
        added = before.call.keys() - tool_call.keys()
        return {**before.call, **tool_call}, before.is_whole or not added

    def _chosen(
        self, answer: Input, options: Sequence[PermissionOption]
    ) -> PermissionOption | None:
        chosen = chosen_option(answer.message, options)
        if chosen is None:
            self._said.append(render_text(answer.message))
            chosen = refusing_option(options)
        if chosen is None or refuses(chosen):
            self.was_refused = True
        return chosen

    def _grant(self, tool_call: dict[str, Any], asked: Permission) -> str | None:
        if self._granted is None or self._granted[0] != asked.digest:
            return None
        (_, wanted), self._granted = self._granted, None
        chosen = next((one for one in asked.options if one.option_id == wanted), None)
        if chosen is None:
            return None
        self.was_refused = self.was_refused or refuses(chosen)
        self.note(tool_call, f"before: {chosen.name}")
        return chosen.option_id
