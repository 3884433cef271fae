"""Rendering of runs: as a table, as a page, and as a closing line."""

from collections.abc import Iterable
from datetime import datetime

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from agentrun.api.printable import printable
from agentrun.api.status import WAITING_STATUSES
from agentrun.cli.answers import Question, Run
from agentrun.cli.render.text import Columns, age, duration, line_of, seconds_between

STYLES = {
    "completed": "green",
    "failed": "red",
    "rejected": "red",
    "cancelled": "dim",
    "cancelling": "yellow",
    "running": "cyan",
    "input_required": "bold yellow",
    "auth_required": "bold yellow",
    "queued": "blue",
}
_MARKS = {"completed": "✓", "failed": "✗", "rejected": "✗", "cancelled": "■"}


def status_text(status: str) -> Text:
    """Return a status in its colour."""
    return Text(printable(status), style=STYLES.get(status, ""))


def run_table(runs: Iterable[Run], now: datetime) -> Columns:
    """Render runs as a table with one row each."""
    made = Columns("RUN", "STATUS", "BACKEND", "AGENT", "AGE", "TOOK", "SUMMARY")
    for run in runs:
        agent = "-" if run.agent_name in ("", run.run_id) else run.agent_name
        took = duration(seconds_between(run.started_at, run.completed_at, now))
        made.add(
            printable(run.run_id), status_text(run.status), printable(run.backend),
            line_of(agent, 24), age(run.started_at, now), took, line_of(run.summary),
        )  # fmt: skip
    return made


def run_page(run: Run, now: datetime) -> RenderableType:
    """Render the details of one run."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in _facts(run, now):
        made.add_row(
            name,
            Text(printable(value), style=STYLES.get(run.status, "") if name == "status" else ""),
        )
    return made


def _facts(run: Run, now: datetime) -> Iterable[tuple[str, str]]:
    took = duration(seconds_between(run.started_at, run.completed_at, now))
    why = f" ({run.reason})" if run.reason and run.reason.lower() != run.status else ""
    facts = [
        ("run", run.run_id),
        ("status", f"{run.status}{why}"),
        ("agent", f"{run.agent_name} · {run.backend} · {run.role}"),
        ("session", run.session_id),
        ("requested", f"{age(run.started_at, now)} ago by {run.requested_by or 'kubectl'}"),
        ("took", took if run.completed_at else f"{took} so far"),
        ("pod", " on ".join(part for part in (run.pod, run.node) if part)),
        ("deleted", run.deleted_at or ""),
        ("unreadable", run.unreadable or ""),
        ("prompt", run.prompt or ""),
        ("error", run.error or ""),
        ("question", question_text(run.question) if run.question else ""),
        ("change", change_of(run)),
        ("left out", "\n".join((run.result.left_out if run.result else None) or [])),
        ("usage", usage_of(run)),
        ("answer", (run.result.summary if run.result else None) or ""),
    ]
    return [(name, value) for name, value in facts if value]


def change_of(run: Run) -> str:
    """Summarize a run's change in one line; empty if it changed nothing."""
    result = run.result
    if result is None or not result.files_changed:
        return ""
    files = f"{result.files_changed} file{'s' if result.files_changed != 1 else ''}"
    lines = f"+{result.insertions or 0} -{result.deletions or 0}"
    pushed = {True: ", pushed", False: ", not pushed", None: ""}[result.pushed]
    left_out = ", not all of the work" if result.left_out else ""
    on_branch = f" on {result.branch}{pushed}" if result.branch else ""
    return f"{files}, {lines}{on_branch}{left_out}"


def usage_of(run: Run) -> str:
    """Summarize a run's usage in one line; empty if it is unknown."""
    usage = run.usage
    if usage is None:
        return ""
    tokens = [(usage.input_tokens, "tokens in"), (usage.output_tokens, "out")]
    parts = [f"{number:,} {name}" for number, name in tokens if number is not None]
    return ", ".join(parts + ([f"${usage.cost_usd}"] if usage.cost_usd else []))


def question_text(question: Question) -> str:
    """Render a question with its numbered options."""
    return "\n".join([question.text or "(no text)", *options_of(question)])


def options_of(question: Question) -> list[str]:
    """Render a question's options with the numbers that choose them."""
    return [
        f"  {number}) {option.name or option.id}"
        for number, option in enumerate(question.options, start=1)
    ]


def end_line(run: Run, now: datetime) -> Text:
    """Summarize in one line how a run ended, or what it waits for."""
    status = run.status.replace("_required", " required")
    mark = "?" if run.status in WAITING_STATUSES else _MARKS.get(run.status, "=")
    took = duration(seconds_between(run.started_at, run.completed_at, now))
    style = STYLES.get(run.status, "")
    text = Text.assemble((f"{mark} {run.run_id} {status}", style), f" after {took}")
    for more in (change_of(run), usage_of(run)):
        if more:
            text.append(f" · {printable(more)}")
    if run.status in ("failed", "rejected") and (run.error or run.message):
        text.append(f"\n  {printable(run.error or run.message or '')}", style=style)
    return text


def next_steps(run: Run) -> list[tuple[str, str]]:
    """Suggest the next commands for a run, each with its purpose."""
    ref = run.run_id
    if run.status in WAITING_STATUSES:
        return [
            (f"agentrun runs continue {ref} ANSWER", "answer it"),
            (f"agentrun runs cancel {ref}", "cancel it"),
        ]
    if run.status == "completed":
        changed = [(f"agentrun runs diff {ref}", "see the change")] if change_of(run) else []
        return [*changed, (f"agentrun runs continue {ref} PROMPT", "continue the conversation")]
    if run.status in ("failed", "rejected", "cancelled"):
        return [
            (f"agentrun runs show {ref}", "show all details"),
            (f"agentrun runs again {ref}", "run it again from the start"),
        ]
    return live_steps(ref)


def live_steps(ref: str) -> list[tuple[str, str]]:
    """Suggest commands for an active run, each with its purpose."""
    return [
        (f"agentrun events tail {ref}", "watch it"),
        (f"agentrun runs wait {ref}", "wait for its end"),
        (f"agentrun runs cancel {ref}", "stop it"),
    ]
