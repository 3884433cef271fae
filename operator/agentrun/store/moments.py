"""Points in time as whole microseconds since 1970, by which everything that changes is ordered."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Write a point in time as microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def moment(stored: int | None) -> datetime | None:
    """Read a point in time."""
    return None if stored is None else EPOCH + timedelta(microseconds=stored)
