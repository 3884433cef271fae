"""Compare runs with the rows of the catalogue of failures, for all test lanes."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from dev.failures.row import Failure

LONGEST_MESSAGE = 4096

T = TypeVar("T", bound=Callable[..., Any])


def promised(*keys: str) -> Callable[[T], T]:
    """Parametrize the decorated test, by its argument ``key``, with each of these rows."""
    params = [pytest.param(key, id=key, marks=pytest.mark.failure(key)) for key in keys]
    mark: Callable[[T], T] = pytest.mark.parametrize("key", params)
    return mark


def check_end(row: Failure, phase: str, reason: str, message: str, seen: str = "") -> None:
    """Compare how a run ended with its row; ``seen`` is shown if they differ."""
    seen = f"{phase}, {reason}: {message}\n{seen}"
    assert (phase, reason) == (row.phase, row.reason), f"{row}\n{seen}"
    assert re.search(row.message, message, re.DOTALL), f"{row.message!r} is not in\n{seen}"
    assert len(message) <= LONGEST_MESSAGE, seen
