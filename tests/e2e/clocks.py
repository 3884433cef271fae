"""Runs of an installation whose clocks are hours off, and whether their times make sense."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.e2e.checks import check_journal
from tests.e2e.cluster import Json
from tests.e2e.installation import Installation

SLACK = timedelta(minutes=3)
"""What a busy machine may add; the error that is looked for is of hours."""
BREAK = timedelta(seconds=7)
"""Times have no fractions, and the operator does not correct less than a few seconds."""


@dataclass(frozen=True)
class Life:
    """A run, from its being asked for to its end."""

    since: datetime
    took: timedelta
    """By the clock of this machine."""
    status: Json
    events: list[Json]

    def at(self, name: str) -> datetime:
        """Return a time in the status."""
        return datetime.fromisoformat(self.status[name])

    def check_times(self) -> timedelta:
        """Compare its times with each other and with the real ones; say how long it took."""
        start, end = self.at("startTime"), self.at("completionTime")
        assert self.since - BREAK <= start <= end <= datetime.now(UTC) + BREAK, self.status
        for condition in self.status["conditions"]:
            changed = datetime.fromisoformat(condition["lastTransitionTime"])
            assert start - BREAK <= changed <= end + BREAK, condition
        return end - start


async def lived(
    installation: Installation, phase: str, reason: str, *steps: list[Any], **more: Any
) -> Life:
    """Spawn a run of the trivial agent, and follow it to the end that it must have."""
    since, begin = datetime.now(UTC), time.monotonic()
    name = await installation.trivial(*steps, **more)
    return await ended(installation, name, phase, reason, since, begin)


async def ended(
    installation: Installation, name: str, phase: str, reason: str, since: datetime, begin: float
) -> Life:
    """Wait for a run's end, with its journal."""
    run, events = await installation.client.finish(name)
    took = timedelta(seconds=time.monotonic() - begin)
    assert (run["status"], run["reason"]) == (phase.lower(), reason), run
    check_journal(events, phase.lower())
    return Life(since, took, await installation.status(name), events)
