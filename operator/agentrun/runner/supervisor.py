"""Ends an attempt for other reasons than its work: stop signals, errors of background tasks."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from agentrun.runner.gateway import RunFinishedError
from agentrun.runner.outcome import End, end_of_error
from agentrun.runner.stop_signals import STOP_SIGNALS
from agentrun.runner.tasks import cancel
from agentrun.runner.transcript import Transcript

_MARGIN_SECONDS = 2.0

T = TypeVar("T")


class Supervisor:
    """Waits for work, and watches for stop signals and background tasks that end."""

    def __init__(self, grace: float, transcript: Transcript) -> None:
        """``grace`` is the time between the kubelet's SIGTERM and SIGKILL, in seconds."""
        self._grace = grace
        self._transcript = transcript
        self._stop = asyncio.Event()
        self._stopped_at = 0.0
        self._helpers: set[asyncio.Task[None]] = set()
        self.broken: End | None = None
        """The end of the run because of a background task's error."""

    @property
    def is_stopped(self) -> bool:
        """Whether the runner has received a stop signal."""
        return self._stop.is_set()

    @property
    def seconds_left(self) -> float:
        """The seconds until the kubelet's SIGKILL, minus a margin; only after a stop signal."""
        deadline = self._stopped_at + self._grace - _MARGIN_SECONDS
        return max(0.5, deadline - asyncio.get_running_loop().time())

    def listen(self) -> None:
        """Handle stop signals. A signal that arrived while the runner was loading is pending."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def watch(self, *helpers: asyncio.Task[None]) -> None:
        """Watch tasks that must run as long as the attempt: it is an error if one ends."""
        self._helpers.update(helpers)

    async def stop(self) -> None:
        """Cancel the background tasks."""
        await cancel(*self._helpers)

    def check_helpers(self) -> None:
        """Raise RunFinishedError, or record the failure, if a background task ended."""
        for helper in [one for one in self._helpers if one.done()]:
            self._helpers.discard(helper)
            error = helper.exception() or RuntimeError("a background task ended")
            if isinstance(error, RunFinishedError):
                raise error
            end = end_of_error(error)
            self.broken = self.broken or end

    async def wait(self, work: asyncio.Task[Any], stoppable: bool) -> None:
        """Wait for ``work``, for a stop signal, or for a background task to end."""
        stop = asyncio.create_task(self._stop.wait())
        others: set[asyncio.Task[Any]] = {stop} if stoppable else set()
        try:
            await asyncio.wait({work, *others, *self._helpers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        self.check_helpers()

    async def bounded(self, work: Coroutine[Any, Any, T], seconds: float, share: float = 1) -> T:
        """
        Await ``work``. Raises TimeoutError after ``seconds``, or earlier after a stop signal.

        ``share`` is the part of the time until SIGKILL that it may use.
        """
        running = asyncio.create_task(work)
        try:
            async with asyncio.timeout(seconds):
                while not running.done() and not self.is_stopped:
                    await self.wait(running, stoppable=True)
                if not running.done():
                    async with asyncio.timeout(self.seconds_left * share):
                        while not running.done():
                            await self.wait(running, stoppable=False)
        finally:
            await cancel(running)
        return running.result()

    def _on_signal(self) -> None:
        if not self.is_stopped:
            self._stopped_at = asyncio.get_running_loop().time()
            self._transcript.log("!", "received a stop signal")
        self._stop.set()
