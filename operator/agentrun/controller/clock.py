"""
The API server's clock.

What the operator compares the time with was mostly written by the API server: when a pod was
created, when its deletion is due. A clock of the operator's node that is off by hours would end
runs at once, or never. Each answer of the API server says what time it is there.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

logger = logging.getLogger(__name__)

# An answer's date has no fractions of a second, and the answer took its time.
_TOLERANCE = timedelta(seconds=5)


def _local() -> datetime:
    return datetime.now(UTC)


class ServerClock:
    """The local clock, corrected where it differs from the API server's."""

    def __init__(self, local: Callable[[], datetime] = _local) -> None:
        self._local = local
        self._offset = timedelta(0)

    def note(self, date: str | None) -> None:
        """Learn from the Date header of an answer (RFC 9110, section 6.6.1)."""
        try:
            offset = parsedate_to_datetime(date or "") - self._local()
        except (TypeError, ValueError):
            return  # A proxy left it out, or it names no time zone.
        if abs(offset - self._offset) <= _TOLERANCE:
            return
        self._offset = offset if abs(offset) > _TOLERANCE else timedelta(0)
        if self._offset:
            seconds = self._offset.total_seconds()
            logger.warning("the clock here differs from the API server's by %.0f s", seconds)

    def now(self) -> datetime:
        """Tell the time."""
        return self._local() + self._offset
