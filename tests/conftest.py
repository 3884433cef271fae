"""For all tests."""

import gc

# What is imported stays: to look through all of it again and again for garbage takes half of the
# time of collecting the tests, and a part of each test after that.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()
