"""
The lifecycle of one attempt, from the task to the outcome.

Every attempt ends with the same steps: the agent is stopped, the change is collected once no
process of the agent is alive, the remaining events are sent to the gateway, and then the outcome.
SIGTERM only limits the time for these steps.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace

from agentrun.api import pod_layout
from agentrun.api.events import EventType
from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import AgentState, Outcome, OutcomeState, Reason, Result
from agentrun.runner.gateway import (
    Gateway,
    GatewayRefusedError,
    GatewayUnavailableError,
    RunFinishedError,
    report_delivered,
)
from agentrun.runner.git.git import Git, GitError
from agentrun.runner.journal.journal import Journal
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.journal.spool import Spool
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import AttemptError, End, end_of_error
from agentrun.runner.outcome_reporter import OutcomeReporter
from agentrun.runner.pipes import Pipes
from agentrun.runner.preparer import Preparer
from agentrun.runner.secrets import known_secrets
from agentrun.runner.settings import Settings
from agentrun.runner.snapshot.take import SnapshotError, SnapshotWriter
from agentrun.runner.status_reporter import StatusReporter
from agentrun.runner.supervisor import Supervisor
from agentrun.runner.tasks import cancel, first
from agentrun.runner.transcript import Transcript, TranscriptHandler
from agentrun.runner.wiring import make_driver

_CANCEL_SECONDS = 5.0
_END_SECONDS = 60.0
"""The limit, in seconds, for all of the agent's processes to end after the agent was stopped."""
_SNAPSHOT_SECONDS = 600.0
_SETTLE_SECONDS = 10.0
_COLLECT_SECONDS = float(pod_layout.COLLECT_SECONDS)
_LAST_RESORT_SECONDS = 15.0
_PAUSE = 0.5
_MAX_TEXT = 32_000
_ALIVE = "it is not certain that all of the agent's processes have ended"

log = logging.getLogger(__name__)


def run_attempt(layout: Layout, pipes: Pipes, env: Mapping[str, str]) -> int:
    """Run the attempt that the environment names. Always return 0; errors are in the outcome."""
    asyncio.run(_run(layout, pipes, Settings.of(env)))
    return 0


async def _run(layout: Layout, pipes: Pipes, settings: Settings) -> None:
    transcript = Transcript()
    redactor = Redactor([*known_secrets(layout), layout.capability])
    logging.basicConfig(
        handlers=[TranscriptHandler(transcript, redactor.text)], format="%(message)s"
    )
    transcript.log("-", f"{settings.run}, attempt {settings.attempt}, {settings.backend}")
    async with Gateway(settings.gateway_url, layout.token, redactor.add) as gateway:
        attempt = Attempt(layout, pipes, settings, transcript, redactor, gateway)
        await attempt.run()


class Attempt:
    """One attempt of one run."""

    def __init__(
        self,
        layout: Layout,
        pipes: Pipes,
        settings: Settings,
        transcript: Transcript,
        redactor: Redactor,
        gateway: Gateway,
    ) -> None:
        self._layout = layout
        self._pipes = pipes
        self._settings = settings
        self._transcript = transcript
        self._redactor = redactor
        self._gateway = gateway
        spool = Spool(layout.spool / "events")
        self._journal = Journal(spool, gateway, redactor, settings.attempt, transcript.event)
        self._reporter = StatusReporter(gateway)
        self._driver = make_driver(
            settings, layout, pipes, gateway, self._journal, self._reporter, redactor
        )
        self._delivery = OutcomeReporter(
            self._journal, gateway, redactor, settings.attempt, layout.termination_log
        )
        self._git = Git(layout.spool / "git", layout.git_credentials, redactor)
        self._ready = Preparer(layout, settings, gateway, self._git, redactor, transcript)
        self._task: Task | None = None
        self._supervisor = Supervisor(settings.grace, transcript)
        self._shipping: asyncio.Task[None] | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._is_outcome_delivered = False

    async def run(self) -> None:
        """Run the attempt to its end and deliver its outcome."""
        self._supervisor.listen()
        self._shipping = asyncio.create_task(self._journal.ship())
        self._reporting = asyncio.create_task(self._reporter.run())
        listening = asyncio.create_task(self._driver.listen())
        self._supervisor.watch(self._shipping, self._reporting, listening)
        try:
            await self._finish(await self._until_end())
        except RunFinishedError as over:
            # The run is sealed or has a newer attempt, so nothing else from this attempt is stored.
            self._transcript.log("!", f"the run has finished: {self._redactor.text(str(over))}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the run's users must hear of it
            await self._fail(error)
        finally:
            try:
                await self._driver.close()
            finally:
                await self._supervisor.stop()

    async def _until_end(self) -> End:
        """Work until the agent has finished, something fails, or the runner is signaled to stop."""
        work = asyncio.create_task(self._work())
        try:
            await self._supervisor.wait(work, stoppable=True)
            if not work.done() and not self._supervisor.broken:
                await self._interrupt(work)
        finally:
            await cancel(work)
        if work.cancelled() and not self._supervisor.broken:
            return End(OutcomeState.INTERRUPTED, None, self._driver.stop_message)
        end = self._supervisor.broken or _end_of(work)
        if self._supervisor.is_stopped and end.state is not OutcomeState.COMPLETED:
            return End(OutcomeState.INTERRUPTED, None, self._driver.stop_message)
        return end

    async def _interrupt(self, work: asyncio.Task[End]) -> None:
        """Cancel the agent's turn, and wait for a short time until it has ended."""
        seconds = min(_CANCEL_SECONDS, self._supervisor.seconds_left / 3)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(seconds):
                await self._driver.interrupt()
        if self._driver.state().prompt_sent:
            await asyncio.wait({work}, timeout=seconds)

    async def _work(self) -> End:
        """Do everything up to the end of the agent's last turn."""
        self._task = task = await self._fetch_task()
        self._journal.start_after(task.head.last_seq)
        await self._reporter.update(
            state=AgentState.PREPARING, acknowledged_input=task.acknowledged_input or None
        )
        await self._ready.restore(task)
        cwd = await self._ready.workspace(task)
        # No process of the agent exists before: it could interfere with the preparation.
        await self._driver.start(task, cwd, self._ready.origin)
        prompt = task.spec.prompt or "(a message in parts)"
        self._transcript.log("<", self._redactor.text(prompt))
        return await self._driver.run()

    async def _fetch_task(self) -> Task:
        try:
            async with asyncio.timeout(self._settings.patience):
                while True:
                    try:
                        return await self._gateway.task()
                    except GatewayUnavailableError as error:
                        self._journal.last_error = str(error)
                        await asyncio.sleep(_PAUSE)
        except TimeoutError as error:
            message = f"The gateway was unavailable: {self._journal.trouble}"
            raise AttemptError(Reason.STORE_UNAVAILABLE, message) from error
        except GatewayRefusedError as error:
            raise AttemptError(Reason.RUNNER_FAILED, str(error)) from error

    async def _finish(self, end: End) -> None:
        """Stop the agent, collect the change, take a snapshot, and deliver the outcome."""
        await self._end_session()
        result = None
        if await self._has_ended():
            # From here on nothing changes the workspace any more.
            end, result = await self._collect(end)
            end = await self._take_snapshot(end)
        else:
            end = await self._skip_collection(end)
        end = self._current_end(end)
        self._log_end(end)
        with _noting_a_full_disk():
            more = self._driver.final_data(end.state)
            self._delivery.final_events(end, self._driver.state().usage, more)
        self._ship_again()
        try:
            outcome = await self._supervisor.bounded(
                self._deliver(end, result), self._settings.patience
            )
        except TimeoutError:
            outcome = self._delivery.undelivered(
                self._delivery.outcome(self._current_end(end), result)
            )
        self._report_termination(outcome)

    async def _has_ended(self) -> bool:
        """Wait until it is certain that no process of the agent is alive; False if it is not."""
        try:
            return await self._supervisor.bounded(self._driver.stop(), _END_SECONDS, share=0.3)
        except TimeoutError:
            return False

    async def _skip_collection(self, end: End) -> End:
        """Read nothing that the agent could still change, and state that in the end's message."""
        why = f"The workspace was not read: {_ALIVE}. No change was collected."
        if self._has_change and end.state is OutcomeState.COMPLETED:
            end = _not_collected(end, _ALIVE)
        else:
            end = replace(end, message=f"{end.message} {why}".strip())
        return await self._report_no_snapshot(end, why)

    @property
    def _has_change(self) -> bool:
        """Whether there may be a change to collect."""
        return bool(self._task and self._ready.base and self._driver.state().prompt_sent)

    async def _end_session(self) -> None:
        seconds = (
            min(3.0, self._supervisor.seconds_left / 4) if self._supervisor.is_stopped else 3.0
        )
        with _noting_a_full_disk():
            await self._driver.end_session(seconds)

    async def _take_snapshot(self, end: End) -> End:
        """Store conversation and workspace for later attempts. A completed run does not need it."""
        task, state = self._task, self._driver.state()
        # A restored conversation exists even if this attempt sent no prompt.
        origin = self._ready.origin
        is_begun = state.prompt_sent or (origin and origin.is_own)
        if task is None or not state.session_id or not is_begun:
            return end
        taker = SnapshotWriter(self._layout, self._gateway, self._git, self._settings.patience)
        try:
            snapshot = await self._supervisor.bounded(
                taker.take(task, state, self._ready.base), _SNAPSHOT_SECONDS, share=0.5
            )
        except TimeoutError:
            return await self._report_no_snapshot(
                end, "The conversation could not be stored: it took too long"
            )
        except SnapshotError as error:
            return await self._report_no_snapshot(end, str(error))
        await self._reporter.update(snapshot=snapshot, snapshot_error=None)
        await self._flush_status()
        await report_delivered(self._gateway, self._driver.state().delivered)
        return end

    async def _report_no_snapshot(self, end: End, why: str) -> End:
        """Report that there is no snapshot. A run that waits for input without a pod fails then."""
        why = self._redactor.text(why)
        self._transcript.log("!", why)
        with _noting_a_full_disk():
            self._journal.add(EventType.REASONING, {"text": why})
        await self._reporter.update(snapshot_error=why[:_MAX_TEXT])
        await self._flush_status()
        if end.state is OutcomeState.COMPLETED:
            # No attempt follows, and the requests in the messages are done.
            await report_delivered(self._gateway, self._driver.state().delivered)
        if not end.waiting:
            return end
        message = f"There was no answer while the pod waited, and the run cannot be resumed: {why}"
        return End(OutcomeState.FAILED, Reason.SESSION_NOT_RESUMABLE, message)

    async def _flush_status(self) -> None:
        """Wait until the gateway has the newest status: clients read it after the outcome."""
        with suppress(TimeoutError):
            await self._supervisor.bounded(self._reporter.settled(), _SETTLE_SECONDS, share=0.3)

    def _current_end(self, end: End) -> End:
        """Return how the run ends, taking later errors of background tasks into account."""
        self._supervisor.check_helpers()
        if self._supervisor.broken is None or end.state is not OutcomeState.COMPLETED:
            return end
        return replace(self._supervisor.broken, final_response=end.final_response)

    def _ship_again(self) -> None:
        """Send the remaining events again if an error had ended the sending task."""
        if self._shipping is None or self._shipping.done():
            self._shipping = asyncio.create_task(self._journal.ship())
            self._supervisor.watch(self._shipping)

    async def _fail(self, error: Exception) -> None:
        """End the run after an error in the finalization itself, such as a full disk."""
        if self._is_outcome_delivered:
            log.error("The runner failed after its outcome was reported", exc_info=error)
            return
        end = end_of_error(error)
        self._log_end(end)
        outcome = self._delivery.outcome(end, None)
        # The termination message first: it depends on nothing else.
        self._report_termination(outcome)
        with suppress(TimeoutError, RunFinishedError):
            async with asyncio.timeout(_LAST_RESORT_SECONDS):
                await self._delivery.deliver(outcome)

    async def _deliver(self, end: End, result: Result | None) -> Outcome:
        """Deliver the outcome, once all events are sent or the task that sends them has ended."""
        await first(self._journal.drained(), self._shipping)
        # An outcome seals the run: status that is not stored by then, as the snapshot, is lost.
        await first(self._reporter.settled(), self._reporting)
        outcome = self._delivery.outcome(self._current_end(end), result)
        await self._delivery.deliver(outcome)
        self._is_outcome_delivered = True
        return outcome

    async def _collect(self, end: End) -> tuple[End, Result | None]:
        """Collect the change regardless of the end's state: a failed run's work is kept, too."""
        task, base = self._task, self._ready.base
        if task is None or base is None or not self._driver.state().prompt_sent:
            return end, None
        work = self._delivery.change(self._git, base, self._layout.workspace, task, end)
        try:
            return await self._supervisor.bounded(work, _COLLECT_SECONDS, share=0.5)
        except TimeoutError:
            return _not_collected(end, "it took too long"), None
        except (GitError, OSError) as error:
            return _not_collected(end, str(error)), None

    def _log_end(self, end: End) -> None:
        words = f"{end.state.value}{f' ({end.reason})' if end.reason else ''}"
        self._transcript.log("-", self._redactor.text(f"{words} {end.message}".strip()))

    def _report_termination(self, outcome: Outcome) -> None:
        self._delivery.write_termination_message(outcome)
        result = outcome.result
        if result and result.commit:
            self._transcript.log(
                "-",
                f"{result.files_changed} files changed, +{result.insertions} "
                f"-{result.deletions}, {result.branch} at {result.commit[:12]}",
            )


@contextmanager
def _noting_a_full_disk() -> Iterator[None]:
    """Log an OSError of the block, so that the run can end without some of its final events."""
    try:
        yield
    except OSError as error:
        log.error("The run's last events cannot be stored: %s", error)


def _not_collected(end: End, why: str) -> End:
    """Return a failed end for a completed run whose change is lost; other ends are unchanged."""
    if end.state is not OutcomeState.COMPLETED:
        log.warning("The change was not collected: %s", why)
        return end
    message = f"The agent finished, but its change could not be collected: {why}"
    return End(OutcomeState.FAILED, Reason.RUNNER_FAILED, message, end.final_response)


def _end_of(work: asyncio.Task[End]) -> End:
    error = work.exception()
    if error is None:
        return work.result()
    if isinstance(error, RunFinishedError):
        raise error
    return end_of_error(error)
