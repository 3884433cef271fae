"""A run in the foreground: the user watches, answers, detaches from or cancels it."""

from typing import Any

from agentrun.api.printable import printable
from agentrun.api.status import WAITING_STATUSES
from agentrun.cli import exits
from agentrun.cli.answers import Page, Run
from agentrun.cli.asking import answer_to, ask_line
from agentrun.cli.client import Tools
from agentrun.cli.following import Cursor, InterruptedByUserError, Interrupts, follow
from agentrun.cli.live import LiveLine
from agentrun.cli.render.events import render_event
from agentrun.cli.render.runs import end_line, live_steps, next_steps, options_of, question_text
from agentrun.cli.render.text import now, seconds_between
from agentrun.cli.screen import OutputFormat, Screen

_LEAVE = "d = leave it running, c = cancel it, Enter = keep watching: "


class Foreground:
    """Shows a run until it has finished or waits for input."""

    def __init__(
        self, tools: Tools, screen: Screen, output: OutputFormat, run: Run | None, cursor: Cursor
    ) -> None:
        self._tools = tools
        self._screen = screen
        self._output = output
        self._cursor = cursor
        passed = seconds_between(run.started_at, None, now()) if run else None
        self._live = LiveLine(screen, cursor.run_id, passed or 0.0)
        self._live.status = cursor.status
        self._interrupts = Interrupts()
        self.events: list[dict[str, Any]] = []
        """All received events, for --output json."""
        self.answered = ""
        """The id of the answered question; the run may not have consumed the answer yet."""
        self._asked = ""

    @property
    def _can_ask(self) -> bool:
        return self._output is OutputFormat.TEXT and self._screen.can_ask

    async def watch(self) -> int:
        """Follow the run and return the command's exit code."""
        with self._interrupts.watched():
            while True:
                try:
                    code = await self._step()
                except InterruptedByUserError:
                    code = await self._interrupted()
                if code is not None:
                    return code

    async def _step(self) -> int | None:
        if self._output is OutputFormat.TEXT:
            with self._live.shown():
                status = await follow(self._tools, self._cursor, self._show, self._interrupts)
        else:
            status = await follow(self._tools, self._cursor, self._show, self._interrupts)
        run = await self._tools.get_run(self._cursor.run_id)
        if run.status not in WAITING_STATUSES and status in WAITING_STATUSES:
            # Another client answered it in between.
            self._cursor.status = run.status
            return None
        if run.status in WAITING_STATUSES and self.answered and _question_id(run) == self.answered:
            # The run still waits, but no longer for input: a pod may be starting.
            self._cursor.status = "running"
            return None
        if run.status in WAITING_STATUSES and self._can_ask and await self._answer(run):
            return None
        self.finish(run)
        return exits.of_status(run.status)

    def finish(self, run: Run) -> None:
        """Report how the run ended, or what it waits for."""
        match self._output:
            case OutputFormat.JSON:
                pass
            case OutputFormat.JSONL:
                self._screen.jsonl({"type": "run_summary", "payload": run.raw()})
            case OutputFormat.TEXT:
                if run.status in WAITING_STATUSES and run.question:
                    self._screen.note(f"\n{printable(question_text(run.question))}")
                self._screen.show(end_line(run, now()))
        if self._output is OutputFormat.TEXT or exits.of_status(run.status) != exits.OK:
            self._screen.steps(next_steps(run))

    def _show(self, page: Page) -> None:
        self._live.status = page.status
        for event in page.events:
            self._live.notice(event)
            match self._output:
                case OutputFormat.JSON:
                    self.events.append(event.raw())
                case OutputFormat.JSONL:
                    self._screen.jsonl(event.raw())
                case OutputFormat.TEXT:
                    if event.type in ("input_required", "auth_required"):
                        self._asked = str(event.data.get("text") or "")
                    if (text := render_event(event)) is not None:
                        self._screen.show(text)

    async def _answer(self, run: Run) -> bool:
        """Prompt for an answer and send it. Return False if the user declines."""
        question = run.question
        if question is None or question.text != self._asked:
            self._screen.show(
                printable(question.text if question else "The run waits for an answer.")
            )
        for line in options_of(question) if question else []:
            self._screen.show(printable(line))
        chooses = "a number or text" if question and question.options else "your answer"
        typed = await ask_line(
            self._screen, f"{chooses} (Ctrl-D leaves it waiting): ", self._interrupts
        )
        if typed is None:
            return False
        if not typed:
            return await self._answer(run)
        message = answer_to(question, typed)
        answered = await self._interrupts.guard(
            self._tools.continue_run(run.run_id, input_message=message)
        )
        self.answered = question.id if question else ""
        # Until the MCP server reports another status; otherwise the question would be asked again.
        self._cursor.status = "running"
        if answered.status in WAITING_STATUSES:
            self._screen.note("The answer was sent; the run has not received it yet.")
        return True

    async def _interrupted(self) -> int | None:
        """Ask whether to detach, cancel or continue. A second Ctrl-C detaches."""
        run_id = self._cursor.run_id
        if not self._can_ask:
            self._detached()
            return exits.INTERRUPTED
        self._screen.show("")
        try:
            typed = await ask_line(self._screen, f"{run_id} is running. {_LEAVE}", self._interrupts)
        except InterruptedByUserError:
            self._screen.show("")
            self._detached()
            return exits.INTERRUPTED
        if typed is None or typed.casefold().startswith("d"):
            self._detached()
            return exits.OK
        if typed.casefold().startswith("c"):
            await self._interrupts.guard(self._tools.cancel_run(run_id, reason="Ctrl-C"))
        return None

    def _detached(self) -> None:
        self._screen.note(f"{self._cursor.run_id} continues:")
        self._screen.steps(live_steps(self._cursor.run_id))


def _question_id(run: Run) -> str:
    return run.question.id if run.question else ""
