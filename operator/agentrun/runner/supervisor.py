"""What ends an attempt besides its own work: the signal to stop, and an error of a helper."""

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
    """Waits for things, and notes meanwhile what else comes to an end."""

    def __init__(self, grace: float, transcript: Transcript) -> None:
        """``grace`` is how many seconds the kubelet leaves between its signal and its kill."""
        self._grace = grace
        self._transcript = transcript
        self._stop = asyncio.Event()
        self._stopped_at = 0.0
        self._helpers: set[asyncio.Task[None]] = set()
        self.broken: End | None = None
        """How the run ends because of a helper's error."""

    @property
    def is_stopped(self) -> bool:
        """Whether the runner was told to stop."""
        return self._stop.is_set()

    @property
    def seconds_left(self) -> float:
        """How long until the kubelet kills, with a margin; only after a stop."""
        deadline = self._stopped_at + self._grace - _MARGIN_SECONDS
        return max(0.5, deadline - asyncio.get_running_loop().time())

    def listen(self) -> None:
        """Take the signals to stop. One that came while the runner was loading has waited."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def watch(self, *helpers: asyncio.Task[None]) -> None:
        """Watch tasks that are to run as long as the attempt: that one ends is an error."""
        self._helpers.update(helpers)

    async def stop(self) -> None:
        """Cancel the helpers."""
        await cancel(*self._helpers)

    def check_helpers(self) -> None:
        """Note which helpers have ended. RunOver if that is what ended one."""
        for helper in [one for one in self._helpers if one.done()]:
            self._helpers.discard(helper)
            error = helper.exception() or RuntimeError("a helper ended")
            if isinstance(error, RunFinishedError):
                raise error
            end = end_of_error(error)
            self.broken = self.broken or end

    async def wait(self, work: asyncio.Task[Any], stoppable: bool) -> None:
        """Wait for ``work``, for the stop, or for a helper to end."""
        stop = asyncio.create_task(self._stop.wait())
        others: set[asyncio.Task[Any]] = {stop} if stoppable else set()
        try:
            await asyncio.wait({work, *others, *self._helpers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        self.check_helpers()

    async def bounded(self, work: Coroutine[Any, Any, T], seconds: float, share: float = 1) -> T:
        """
        Await ``work``. TimeoutError after a bound, which a stop makes shorter.

        ``share`` is the part of what is left until the kill that it may take.
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
            self._transcript.log("!", "told to stop")
        self._stop.set()
