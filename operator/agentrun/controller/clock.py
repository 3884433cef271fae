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

_TOLERANCE = timedelta(seconds=5)
_FRACTION = timedelta(seconds=1)
"""What a date leaves out: it has whole seconds."""


def _local() -> datetime:
    return datetime.now(UTC)


class ServerClock:
    """The local clock, corrected where it differs from the API server's."""

    def __init__(self, local: Callable[[], datetime] = _local) -> None:
        self._local = local
        self._offset = timedelta(0)

    def asked(self) -> datetime:
        """Note the local time before a request, for ``note``."""
        return self._local()

    def note(self, date: str | None, asked: datetime) -> None:
        """
        Learn from the Date header of an answer (RFC 9110, section 6.6.1).

        The answer was given between ``asked`` and now, and may have waited for its reader since:
        so it tells no more than between which bounds the difference of the clocks is.
        """
        try:
            there = parsedate_to_datetime(date or "")
            least, most = there - self._local(), there + _FRACTION - asked
        except (TypeError, ValueError):
            return  # A proxy left it out, or it names no time zone.
        if least - _TOLERANCE <= self._offset <= most + _TOLERANCE:
            return
        is_right = least - _TOLERANCE <= timedelta(0) <= most + _TOLERANCE
        self._offset = timedelta(0) if is_right else least
        if self._offset:
            seconds = self._offset.total_seconds()
            logger.warning("the clock here differs from the API server's by %.0f s", seconds)

    def now(self) -> datetime:
        """Tell the time."""
        return self._local() + self._offset
