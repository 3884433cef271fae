"""
The API server's clock.

Most timestamps that the operator compares with the current time are written by the API server,
such as when a pod was created and when its deletion is due. If the clock of the operator's node
were off by hours, runs would be stopped immediately or never. Each response of the API server
states its time.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

logger = logging.getLogger(__name__)

_TOLERANCE = timedelta(seconds=5)
_FRACTION = timedelta(seconds=1)
"""The precision of a Date header, which has whole seconds."""


def _local() -> datetime:
    return datetime.now(UTC)


class ServerClock:
    """The local clock, corrected by its offset from the API server's clock."""

    def __init__(self, local: Callable[[], datetime] = _local) -> None:
        self._local = local
        self._offset = timedelta(0)

    def asked(self) -> datetime:
        """Return the local time before a request, to be passed to ``note``."""
        return self._local()

    def note(self, date: str | None, asked: datetime) -> None:
        """
        Update the offset from the Date header of a response (RFC 9110, section 6.6.1).

        The response was generated between ``asked`` and now and may have been read late, so it
        only yields a range for the offset of the clocks. The offset changes only if it is outside.
        """
        try:
            there = parsedate_to_datetime(date or "")
            least, most = there - self._local(), there + _FRACTION - asked
        except (TypeError, ValueError):
            return  # A proxy omitted it, or it has no time zone.
        if least - _TOLERANCE <= self._offset <= most + _TOLERANCE:
            return
        is_right = least - _TOLERANCE <= timedelta(0) <= most + _TOLERANCE
        self._offset = timedelta(0) if is_right else least
        if self._offset:
            seconds = self._offset.total_seconds()
            logger.warning("the local clock differs from the API server's by %.0f s", seconds)

    def now(self) -> datetime:
        """Return the current time by the API server's clock."""
        return self._local() + self._offset
