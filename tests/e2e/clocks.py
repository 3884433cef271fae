"""Runs of an installation whose clocks are hours off, and whether their times are correct."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.e2e.checks import check_journal
from tests.e2e.cluster import Json
from tests.e2e.installation import Installation

SLACK = timedelta(minutes=3)
"""Delay allowed for a busy machine; the errors to detect are of hours."""
BREAK = timedelta(seconds=7)
"""
Times have no fractions, and the operator corrects only differences of more than a few seconds.
"""


@dataclass(frozen=True)
class Life:
    """A run, from the request to its end."""

    since: datetime
    took: timedelta
    """The duration by the clock of this machine."""
    status: Json
    events: list[Json]

    def at(self, name: str) -> datetime:
        """Return a time in the status."""
        return datetime.fromisoformat(self.status[name])

    def check_times(self) -> timedelta:
        """
        Compare the run's times with each other and with this machine's, and return the duration.
        """
        start, end = self.at("startTime"), self.at("completionTime")
        assert self.since - BREAK <= start <= end <= datetime.now(UTC) + BREAK, self.status
        for condition in self.status["conditions"]:
            changed = datetime.fromisoformat(condition["lastTransitionTime"])
            assert start - BREAK <= changed <= end + BREAK, condition
        return end - start


async def lived(
    installation: Installation, phase: str, reason: str, *steps: list[Any], **more: Any
) -> Life:
    """Spawn a run of the trivial agent, and wait for its expected end."""
    since, begin = datetime.now(UTC), time.monotonic()
    name = await installation.trivial(*steps, **more)
    return await ended(installation, name, phase, reason, since, begin)


async def ended(
    installation: Installation, name: str, phase: str, reason: str, since: datetime, begin: float
) -> Life:
    """Wait for a run's end, and return it with its journal."""
    run, events = await installation.client.finish(name)
    took = timedelta(seconds=time.monotonic() - begin)
    assert (run["status"], run["reason"]) == (phase.lower(), reason), run
    check_journal(events, phase.lower())
    return Life(since, took, await installation.status(name), events)
