"""``agentrun runs``: list, show, cancel, wait for, continue and repeat runs."""

import asyncio
import sys
from typing import Annotated, Any

import typer

from agentrun.api.status import WAITING_STATUSES
from agentrun.cli import exits
from agentrun.cli.answers import Continued, Run
from agentrun.cli.asking import answer_to, text_message
from agentrun.cli.client import Tools
from agentrun.cli.commands.common import Ref, parse_duration, with_tools
from agentrun.cli.following import Cursor, InterruptedByUserError, Interrupts, follow
from agentrun.cli.foreground import Foreground
from agentrun.cli.live import LiveLine
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import CliError
from agentrun.cli.render.runs import end_line, live_steps, next_steps, run_page, run_table
from agentrun.cli.render.text import now, seconds_between
from agentrun.cli.screen import OutputFormat, OutputOption, Screen

DetachOption = Annotated[bool, typer.Option("--detach", help="Do not watch it.")]


def list_(
    connection: ConnectionOptions,
    status: Annotated[
        str, typer.Option(help="Only runs with this status: running, failed, …")
    ] = "",
    backend: Annotated[str, typer.Option(help="Only runs of this backend.")] = "",
    cwd: Annotated[str, typer.Option(help="Only runs in this folder of their workspace.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="The maximum number.")] = 20,
    cursor: Annotated[str, typer.Option(help="The next_cursor of the previous page.")] = "",
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """List runs, newest first, including those whose AgentRun is deleted."""

    async def work(tools: Tools) -> None:
        filters = {"status": status, "backend": backend, "cwd": cwd, "cursor": cursor}
        given = {key: value for key, value in filters.items() if value}
        page = await tools.list_runs(limit=limit, **given)
        screen = Screen()
        match output:
            case OutputFormat.JSON:
                screen.json(page.raw())
            case OutputFormat.JSONL:
                screen.jsonl(*(run.raw() for run in page.runs))
            case OutputFormat.TEXT if not page.runs and page.next_cursor:
                screen.note("None of the runs on this page match.")
            case OutputFormat.TEXT if not page.runs:
                what = "no matching runs" if status or backend or cwd else "no runs yet"
                screen.note(f"There are {what}: `agentrun run PROMPT` starts one.")
            case OutputFormat.TEXT:
                screen.show(run_table(page.runs, now()))
        if output is not OutputFormat.JSON:
            for one in page.unreadable:
                screen.note(f"{one.namespace}/{one.run_id} cannot be read: {one.reason}")
        if page.next_cursor and output is not OutputFormat.JSON:
            screen.note(f"There are more: --limit N, or --cursor {page.next_cursor}")

    with_tools(connection, work)


def show(connection: ConnectionOptions, run: Ref, output: OutputOption = OutputFormat.TEXT) -> None:
    """Show a run's status, question and result."""

    async def work(tools: Tools) -> None:
        found, screen = await tools.find_run(run), Screen()
        if not _printed(screen, output, found.raw()):
            screen.show(run_page(found, now()))
            screen.steps(next_steps(found))

    with_tools(connection, work)


def cancel(
    connection: ConnectionOptions,
    run: Ref,
    reason: Annotated[str, typer.Option(help="The reason, which is stored with the run.")] = "",
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not wait for its processes to end.")
    ] = False,
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """Cancel a run, and wait until no process of it is left."""

    async def work(tools: Tools) -> None:
        found, screen = await tools.find_run(run), Screen()
        wait = 0 if detach else 30_000
        while True:
            answer = await tools.cancel_run(found.run_id, wait_ms=wait, reason=reason or None)
            if detach or answer.status != "cancelling":
                break
        is_text = not _printed(screen, output, answer.raw())
        if answer.status == "cancelled":
            if is_text:
                screen.show(f"{found.run_id} is cancelled: all of its processes have ended")
            return
        if is_text:
            screen.show(f"{found.run_id} is {answer.status}")
        screen.steps([(f"agentrun runs wait {found.run_id}", "wait until it is gone")])

    with_tools(connection, work)


def wait(
    connection: ConnectionOptions,
    run: Ref,
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="The timeout: 90s, 15m, 1h30m.")
    ] = "",
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """
    Wait until a run has ended or waits for an answer.

    Exits with 0 for completed, 5 for failed or rejected, 6 for cancelled, 7 if it waits for an
    answer, and 8 when --timeout expires; the run is not changed.
    """
    seconds = parse_duration(timeout) if timeout else None

    async def work(tools: Tools) -> int:
        found, screen = await tools.find_run(run), Screen()
        passed = seconds_between(found.started_at, None, now()) or 0.0
        line = LiveLine(screen, found.run_id, passed)
        cursor = Cursor(found.run_id, found.last_seq, found.status)
        interrupts = Interrupts()

        def notice(page: Any) -> None:
            line.status = page.status
            for event in page.events:
                line.notice(event)

        line.status = found.status
        try:
            with interrupts.watched(), line.shown():
                async with asyncio.timeout(seconds):
                    await follow(tools, cursor, notice, interrupts)
        except TimeoutError:
            raise CliError(
                f"{found.run_id} is still {cursor.status} after {timeout};"
                f" `agentrun runs wait {found.run_id}` continues to wait"
            ) from None
        except InterruptedByUserError:
            screen.note(f"{found.run_id} continues:")
            screen.steps(live_steps(found.run_id))
            return exits.INTERRUPTED
        ended = await tools.get_run(found.run_id)
        is_text = not _printed(screen, output, ended.raw())
        if is_text:
            screen.show(end_line(ended, now()))
        code = exits.of_status(ended.status)
        if is_text or code != exits.OK:
            screen.steps(next_steps(ended))
        return code

    with_tools(connection, work)


def continue_(
    connection: ConnectionOptions,
    run: Ref,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="ANSWER", help="The answer, or the next task."),
    ] = None,
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="The answer or task, instead of arguments.")
    ] = "",
    option: Annotated[str, typer.Option(help="The id of the selected option.")] = "",
    detach: DetachOption = False,
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """
    Answer a run that waits, or continue one that has completed or failed.

    A run that waits resumes; otherwise a new run continues the conversation. An answer that is
    the number, id or name of one of the question's options selects that option.
    """
    piped = "" if sys.stdin.isatty() else sys.stdin.read().strip()
    typed = prompt or " ".join(words or [])
    if not (typed.strip() or piped or option):
        raise typer.BadParameter("there is no answer: agentrun runs continue RUN WORDS...")

    async def work(tools: Tools) -> int:
        found = await tools.find_run(run)
        message = _answer(found, typed.strip(), piped, option)
        continued = await tools.continue_run(found.run_id, input_message=message)
        return await _stay(tools, found, continued, detach, output)

    with_tools(connection, work)


def again(
    connection: ConnectionOptions,
    run: Ref,
    detach: DetachOption = False,
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """Run a finished run again from the start: create a new run with the same task."""

    async def work(tools: Tools) -> int:
        found = await tools.find_run(run)
        continued = await tools.continue_run(found.run_id, from_start=True)
        return await _stay(tools, found, continued, detach, output)

    with_tools(connection, work)


def _answer(run: Run, typed: str, piped: str, option: str) -> dict[str, Any]:
    if option:
        return {"role": "user", "parts": [{"type": "data", "data": {"option_id": option}}]}
    if run.status in WAITING_STATUSES and not piped:
        return answer_to(run.question, typed)
    return text_message(typed, piped)


async def _stay(
    tools: Tools, before: Run, continued: Continued, detach: bool, output: OutputFormat
) -> int:
    """Show the run that continues, from its next event on."""
    screen = Screen()
    is_new = continued.run_id != before.run_id
    if detach:
        if not _printed(screen, output, continued.raw()):
            screen.show(continued.run_id)
            screen.steps(live_steps(continued.run_id))
        return exits.OK
    if output is OutputFormat.TEXT:
        relation = f" continues {before.run_id}" if is_new else ""
        screen.note(f"{continued.run_id}{relation} is {continued.status}")
    status = "running" if continued.status in WAITING_STATUSES else continued.status
    cursor = Cursor(continued.run_id, 0 if is_new else before.last_seq, status or "running")
    foreground = Foreground(tools, screen, output, None if is_new else before, cursor)
    if not is_new and before.question:
        foreground.answered = before.question.id
    code = await foreground.watch()
    if output is OutputFormat.JSON and code != exits.INTERRUPTED:
        ended = await tools.get_run(continued.run_id)
        screen.json({"continue": continued.raw(), "run": ended.raw()})
    return code


def _printed(screen: Screen, output: OutputFormat, raw: dict[str, Any]) -> bool:
    """Print ``raw`` if the output is JSON or JSONL. Return False if it is text."""
    if output is OutputFormat.JSON:
        screen.json(raw)
    if output is OutputFormat.JSONL:
        screen.jsonl(raw)
    return output is not OutputFormat.TEXT


__all__ = ["again", "cancel", "continue_", "list_", "show", "wait"]
