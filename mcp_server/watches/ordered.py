"""A sorted collection with efficient range access."""

from bisect import bisect_left, insort
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
P = TypeVar("P", bound=tuple[Any, ...])


class Ordered(Generic[K, P]):
    """Keys, each with a unique place, sorted by place."""

    def __init__(self) -> None:
        self._places: dict[K, P] = {}
        self._order: list[tuple[P, K]] = []

    def put(self, key: K, place: P) -> None:
        """Insert a key at a place, or move it there."""
        self.drop(key)
        self._places[key] = place
        insort(self._order, (place, key))

    def drop(self, key: K) -> None:
        """Remove a key, if it exists."""
        if key in self._places:
            at = self._places.pop(key)
            del self._order[bisect_left(self._order, (at, key))]

    def last(self, limit: int, before: P | None = None) -> list[K]:
        """
        Return up to ``limit`` keys with the greatest places below ``before``, in descending order.
        """
        end = len(self._order) if before is None else bisect_left(self._order, (before,))
        return [key for _, key in reversed(self._order[max(0, end - limit) : end])]
