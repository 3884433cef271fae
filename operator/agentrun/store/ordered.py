"""Things in order, of which any stretch is found without looking at the others."""

from bisect import bisect_left, insort
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
P = TypeVar("P", bound=tuple[Any, ...])


class Ordered(Generic[K, P]):
    """Keys, each at a place of its own, in the order of the places."""

    def __init__(self) -> None:
        self._places: dict[K, P] = {}
        self._order: list[tuple[P, K]] = []

    def put(self, key: K, place: P) -> None:
        """Put a key at a place; it leaves the place where it was."""
        self.drop(key)
        self._places[key] = place
        insort(self._order, (place, key))

    def drop(self, key: K) -> None:
        """Take a key out, if it is there."""
        if key in self._places:
            at = self._places.pop(key)
            del self._order[bisect_left(self._order, (at, key))]

    def last(self, limit: int, before: P | None = None) -> list[K]:
        """Return up to ``limit`` keys, those of the greatest places, all less than ``before``."""
        end = len(self._order) if before is None else bisect_left(self._order, (before,))
        return [key for _, key in reversed(self._order[max(0, end - limit) : end])]
