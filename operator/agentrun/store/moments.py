"""Points in time as whole microseconds since 1970, the sort order of changes."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Convert a point in time to microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def moment(stored: int | None) -> datetime | None:
    """Convert microseconds since 1970 to a point in time."""
    return None if stored is None else EPOCH + timedelta(microseconds=stored)
