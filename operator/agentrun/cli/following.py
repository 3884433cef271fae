"""Following a run: its events as they arrive, until it has finished or waits for input."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from agentrun.api.names import parse_run_id, unique_run_id
from agentrun.api.status import TERMINAL_STATUSES, WAITING_STATUSES
from agentrun.cli.answers import Event, Page
from agentrun.cli.client import Tools

T = TypeVar("T")


class InterruptedByUserError(Exception):
    """The user pressed Ctrl-C."""


@dataclass
class Cursor:
    """The position up to which a run was followed."""

    run_id: str
    after_seq: int = 0
    status: str = "queued"
    _unique: str = ""
    """The run's id with its uid, to which the position belongs also if the name is used again."""

    async def pages(self, tools: Tools) -> AsyncIterator[Page]:
        """
        Yield pages, including empty ones, until the run has settled and all its events are read.

        A run has settled when it has finished or waits for input. It counts as settled only if the
        MCP server reports that status with no more events: the status may be ahead of the events
        or behind.
        """
        while True:
            rests = self.status in TERMINAL_STATUSES | WAITING_STATUSES
            page = await tools.poll_events(
                self._unique or self.run_id, self.after_seq, wait_ms=0 if rests else 20_000
            )
            self.after_seq, self.status = page.next_after_seq, page.status
            if page.uid:
                self._unique = unique_run_id(parse_run_id(self.run_id)[0], page.uid)
            yield page
            if page.status in TERMINAL_STATUSES | WAITING_STATUSES and not page.events:
                return


class Interrupts:
    """An awaitable form of Ctrl-C."""

    def __init__(self) -> None:
        self._pressed = asyncio.Event()

    @contextmanager
    def watched(self) -> Iterator["Interrupts"]:
        """Handle SIGINT while the block runs."""
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGINT, self._pressed.set)
        except (RuntimeError, ValueError, NotImplementedError):
            # Signal handlers need the main thread; elsewhere there is no Ctrl-C to handle.
            yield self
            return
        try:
            yield self
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    async def guard(self, work: Awaitable[T]) -> T:
        """Return the result of ``work``. On Ctrl-C, cancel it and raise InterruptedByUserError."""
        task = asyncio.ensure_future(work)
        pressed = asyncio.ensure_future(self._pressed.wait())
        try:
            await asyncio.wait({task, pressed}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            self._pressed.clear()
            raise InterruptedByUserError
        finally:
            for one in (task, pressed):
                one.cancel()
            await asyncio.gather(task, pressed, return_exceptions=True)


async def follow(
    tools: Tools, cursor: Cursor, on_page: Callable[[Page], None], interrupts: Interrupts
) -> str:
    """Follow a run until it has finished or waits for input, and return that status."""

    async def read() -> None:
        async for page in cursor.pages(tools):
            on_page(page)

    await interrupts.guard(read())
    return cursor.status


async def all_events(tools: Tools, run_id: str, after_seq: int = 0) -> AsyncIterator[Event]:
    """Yield the events so far, without waiting for more."""
    while True:
        page = await tools.poll_events(run_id, after_seq, limit=1000, wait_ms=0)
        for event in page.events:
            yield event
        if not page.events:
            return
        after_seq = page.next_after_seq
