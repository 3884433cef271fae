"""For all tests."""

import gc
from typing import Any

import pytest

from tests import pending

# What is imported stays: to look through all of it again and again for garbage takes half of the
# time of collecting the tests, and a part of each test after that.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Put beside the traceback of a test that took too long what each of its tasks waits for."""
    if call.excinfo is not None:
        # What is left of its time is not for this, and a test runner that is interrupted here ends.
        item.ihook.pytest_timeout_cancel_timer(item=item)
    report = yield
    if report.failed and "from pytest-timeout" in str(report.longrepr):
        report.sections.append(("the tasks that were not done", pending.tasks()))
    return report
