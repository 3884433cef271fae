"""
The work of one attempt: the pod is prepared, and the agent is driven to the end of its last turn.

Each phase returns an immutable result, with which the next one goes on; ``finish`` has the phases
after these.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import AgentState, Outcome, OutcomeState, Reason, Result
from agentrun.runner.driver import AgentDriver
from agentrun.runner.gateway import (
    Gateway,
    GatewayRefusedError,
    GatewayUnavailableError,
    RunFinishedError,
    retry_while_unavailable,
)
from agentrun.runner.git.git import Git
from agentrun.runner.journal.journal import Journal
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import AttemptError, End, end_of_error
from agentrun.runner.outcome_reporter import OutcomeReporter
from agentrun.runner.preparer import Prepared, Preparer
from agentrun.runner.settings import Settings
from agentrun.runner.status_reporter import StatusReporter
from agentrun.runner.supervisor import Supervisor
from agentrun.runner.tasks import cancel, first
from agentrun.runner.transcript import Transcript

_CANCEL_SECONDS = 5.0

T = TypeVar("T")


@dataclass
class Senders:
    """The background tasks that send the events and the status to the gateway."""

    journal: Journal
    reporter: StatusReporter
    supervisor: Supervisor
    shipping: asyncio.Task[None] | None = None
    reporting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start both tasks; it is an error if one ends before the attempt."""
        self.shipping = asyncio.create_task(self.journal.ship())
        self.reporting = asyncio.create_task(self.reporter.run())
        self.supervisor.watch(self.shipping, self.reporting)

    def ship_again(self) -> None:
        """Send the remaining events again if an error had ended the sending task."""
        if self.shipping is None or self.shipping.done():
            self.shipping = asyncio.create_task(self.journal.ship())
            self.supervisor.watch(self.shipping)

    async def drained(self) -> None:
        """Wait until all is sent, or until the task that sends it has ended."""
        await first(self.journal.drained(), self.shipping)
        # An outcome seals the run: status that is not stored by then, as the snapshot, is lost.
        await first(self.reporter.settled(), self.reporting)


@dataclass(frozen=True)
class Attempt:
    """The parts of one attempt of one run, which its phases share."""

    settings: Settings
    layout: Layout
    gateway: Gateway
    journal: Journal
    reporter: StatusReporter
    senders: Senders
    driver: AgentDriver
    preparer: Preparer
    git: Git
    outcomes: OutcomeReporter
    supervisor: Supervisor
    transcript: Transcript
    redactor: Redactor


@dataclass(frozen=True)
class AttemptResult:
    """What is known of an attempt after a phase."""

    end: End
    prepared: Prepared | None = None
    """What the agent started from; None if the preparation did not succeed."""
    has_stopped: bool = False
    """Whether it is certain that no process of the agent is alive."""
    change: Result | None = None
    outcome: Outcome | None = None


async def work(attempt: Attempt) -> AttemptResult:
    """Work until the agent has finished, something fails, or the runner is signaled to stop."""
    prepared = await _until_done(attempt, prepare(attempt))
    if isinstance(prepared, End):
        return AttemptResult(prepared)
    return AttemptResult(await _until_done(attempt, drive(attempt, prepared)), prepared)


async def prepare(attempt: Attempt) -> Prepared:
    """Fetch the task, and prepare the pod for the agent."""
    task = await _fetch_task(attempt)
    attempt.journal.start_after(task.head.last_seq)
    await attempt.reporter.update(
        state=AgentState.PREPARING, acknowledged_input=task.acknowledged_input or None
    )
    return await attempt.preparer.prepare(task)


async def drive(attempt: Attempt, prepared: Prepared) -> End:
    """Start the agent, and run the task until the end of the agent's last turn."""
    # No process of the agent exists before: it could interfere with the preparation.
    await attempt.driver.start(prepared.task, prepared.cwd, prepared.origin)
    prompt = prepared.task.spec.prompt or "(a message in parts)"
    attempt.transcript.log("<", attempt.redactor.text(prompt))
    return await attempt.driver.run()


async def _until_done(attempt: Attempt, phase: Coroutine[Any, Any, T]) -> T | End:
    """Return the phase's result, or the end of the attempt if it fails or is interrupted."""
    supervisor = attempt.supervisor
    running = asyncio.create_task(phase)
    try:
        await supervisor.wait(running, stoppable=True)
        if not running.done() and not supervisor.broken:
            await _interrupt(attempt, running)
    finally:
        await cancel(running)
    if running.cancelled() and not supervisor.broken:
        return _interrupted(attempt)
    done: T | End = supervisor.broken if supervisor.broken else _result_of(running)
    if supervisor.is_stopped and isinstance(done, End) and done.state is not OutcomeState.COMPLETED:
        return _interrupted(attempt)
    return done


async def _interrupt(attempt: Attempt, running: asyncio.Task[Any]) -> None:
    """Cancel the agent's turn, and wait for a short time until it has ended."""
    seconds = min(_CANCEL_SECONDS, attempt.supervisor.seconds_left / 3)
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(seconds):
            await attempt.driver.interrupt()
    if attempt.driver.state().prompt_sent:
        await asyncio.wait({running}, timeout=seconds)


def _interrupted(attempt: Attempt) -> End:
    return End(OutcomeState.INTERRUPTED, None, attempt.driver.stop_message)


def _result_of(phase: asyncio.Task[T]) -> T | End:
    error = phase.exception()
    if error is None:
        return phase.result()
    if isinstance(error, RunFinishedError):
        raise error
    return end_of_error(error)


async def _fetch_task(attempt: Attempt) -> Task:
    def note(error: Exception) -> None:
        attempt.journal.last_error = str(error)

    try:
        return await retry_while_unavailable(attempt.gateway.task, attempt.settings.patience, note)
    except GatewayUnavailableError as error:
        message = f"The gateway was unavailable: {attempt.journal.trouble}"
        raise AttemptError(Reason.STORE_UNAVAILABLE, message) from error
    except GatewayRefusedError as error:
        raise AttemptError(Reason.RUNNER_FAILED, str(error)) from error
