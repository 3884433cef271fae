"""Fixtures and hooks for all tests."""

import gc
from typing import Any

import pytest

from tests import pending

# Imported modules stay: to scan them repeatedly for garbage takes half of the time of collecting
# the tests, and a part of each test after that.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Add to the report of a test that timed out what each of its asyncio tasks waits for."""
    if call.excinfo is not None:
        # The rest of the timeout does not apply here: an interruption would end the test runner.
        item.ihook.pytest_timeout_cancel_timer(item=item)
    report = yield
    if report.failed and "from pytest-timeout" in str(report.longrepr):
        report.sections.append(("the tasks that were not done", pending.tasks()))
    return report
