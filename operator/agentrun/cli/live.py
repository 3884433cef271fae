"""The live line below the events: a run's progress, elapsed time and current activity."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from agentrun.api.printable import printable
from agentrun.cli.answers import Event
from agentrun.cli.render.events import activity
from agentrun.cli.render.runs import STYLES
from agentrun.cli.render.text import duration
from agentrun.cli.screen import Screen

_FRAMES_PER_SECOND = 8


class LiveLine:
    """A spinner with the run's status, the elapsed time, and the agent's current activity."""

    def __init__(self, screen: Screen, run_id: str, passed: float = 0.0) -> None:
        self._screen = screen
        self._run_id = run_id
        self._begun = time.monotonic() - passed
        self._spinner = Spinner("dots", style="cyan")
        self._status = "queued"
        self._live: Live | None = None
        self.doing = ""

    @property
    def status(self) -> str:
        """The run's status."""
        return self._status

    @status.setter
    def status(self, status: str) -> None:
        changed, self._status = status != self._status, status
        if changed and self._live is not None:
            # Output above the line redraws it as last rendered, which has the old status.
            self._live.refresh()

    def notice(self, event: Event) -> None:
        """Update the current activity from an event."""
        self.doing = activity(event) or self.doing

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the line on a terminal while the block runs."""
        if not self._screen.is_live:
            yield
            return
        live = Live(
            console=self._screen.out,
            get_renderable=self._render,
            refresh_per_second=_FRAMES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def _render(self) -> RenderableType:
        status = self.status.replace("_", " ")
        doing = f" · {self.doing}" if self.doing and self.status == "running" else ""
        frame = self._spinner.render(time.monotonic())
        assert isinstance(frame, Text)  # the spinner has no text
        return Text.assemble(
            frame, " ", (printable(self._run_id), "bold"), " ",
            (status, STYLES.get(self.status, "")),
            f" {duration(time.monotonic() - self._begun)}", (doing, "dim"),
            no_wrap=True, overflow="ellipsis",
        )  # fmt: skip
