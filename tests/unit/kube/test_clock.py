"""Which clock the operator goes by."""

from datetime import datetime
from email.utils import format_datetime

import pytest

from agentrun.kube.clock import ServerClock
from tests.unit.controller.samples import NOW, ago, ahead


def header(at: datetime) -> str:
    return format_datetime(at, usegmt=True)


@pytest.mark.parametrize("local", [ago(5 * 3600), ahead(5 * 3600)], ids=["behind", "ahead"])
def test_a_clock_skew_of_hours_is_corrected(local: datetime) -> None:
    clock = ServerClock(lambda: local)
    clock.note(header(NOW), clock.asked())
    assert clock.now() == NOW


@pytest.mark.parametrize("date", [None, "", "yesterday", header(ahead(2))])
def test_small_differences_and_missing_dates_change_nothing(date: str | None) -> None:
    clock = ServerClock(lambda: NOW)
    clock.note(date, clock.asked())
    assert clock.now() == NOW


@pytest.mark.parametrize("seconds", [3, 10, 3600])
def test_a_response_that_is_read_late_is_no_clock_skew(seconds: int) -> None:
    times = [ago(seconds), NOW, NOW]
    clock = ServerClock(lambda: times.pop(0))
    asked = clock.asked()
    clock.note(header(ago(seconds)), asked)
    assert clock.now() == NOW


def test_a_corrected_clock_is_used_again() -> None:
    times = [ahead(9000), ahead(9000), NOW, NOW, NOW]
    clock = ServerClock(lambda: times.pop(0))
    clock.note(header(NOW), clock.asked())
    clock.note(header(ago(1)), clock.asked())
    assert clock.now() == NOW
