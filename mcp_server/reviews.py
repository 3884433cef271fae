"""
Asking the API server about tokens, at a bounded cost.

Anybody can make up tokens. So a token is asked about once at a time, what was said is remembered,
refusals apart from everything else, and whoever sends many that are refused must wait: others are
asked about meanwhile. A token that was good once does not wait for that, when it is asked about
again.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Generic, Protocol, TypeVar

GOOD_SECONDS = 60.0
REFUSED_SECONDS = 5.0
MOST = 4096
"""How many tokens are remembered that are good, and how many that are not."""
AT_ONCE = 8
"""How many reviews are under way at once ..."""
WAITING = 128
"""... and how many tokens may wait for theirs."""
PEER_REFUSALS, PEER_RATE = 20, 0.5
"""How many refused tokens a peer may send at once, and how many more each second."""
ALL_REFUSALS, ALL_RATE = 200, 5.0
"""The same for all peers together."""
_REVIEW_SECONDS = 10.0
_MOST_PEERS = 4096
_LONGEST = 16 * 1024

peer: ContextVar[str] = ContextVar("peer", default="")
"""The address that the current request comes from."""

T = TypeVar("T")


class TokenReviewer(Protocol):
    """Whoever can say whom a token speaks for: the API server."""

    async def review_token(self, token: str, audience: str) -> dict[str, Any]:
        """Return the status of a TokenReview."""


class TooManyReviewsError(Exception):
    """A token cannot be asked about just now; trying again helps."""


class TokenRefusedError(Exception):
    """The API server does not take a token, or it is not for this purpose. Says why."""


class Reviews(Generic[T]):
    """What tokens of one audience stand for. ``read`` makes it of a review, or TokenRefused."""

    def __init__(
        self,
        reviewer: TokenReviewer,
        audience: str,
        read: Callable[[Mapping[str, Any]], T],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reviewer = reviewer
        self._audience = audience
        self._read = read
        self._monotonic = monotonic
        # By digest: a dump of this process must not hold its clients' tokens.
        self._good: OrderedDict[bytes, tuple[float, T]] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Task[T]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._peers: OrderedDict[str, _Bucket] = OrderedDict()
        self._all = _Bucket(ALL_REFUSALS, ALL_RATE, monotonic())

    async def of(self, token: str) -> T:
        """
        Return what ``token`` stands for.

        Raises TokenRefused, TooManyReviews, and whatever the reviewer raises.
        """
        if len(token) > _LONGEST:
            raise TokenRefusedError(f"it is longer than {_LONGEST} characters")
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        now = self._monotonic()
        until, found = self._good.get(digest, (0.0, None))
        if found is not None and now < until:
            self._good.move_to_end(digest)
            return found
        refused_until, why = self._refused.get(digest, (0.0, ""))
        if now < refused_until:
            raise TokenRefusedError(why)
        task = self._under_way.get(digest)
        if task is None:
            task = self._begin(token, digest)
        # Whoever leaves must not take the answer from those who wait for the same.
        return await asyncio.shield(task)

    def _begin(self, token: str, digest: bytes) -> asyncio.Task[T]:
        mine = self._bucket(peer.get())
        was_good = digest in self._good
        now = self._monotonic()
        # Taken beforehand, so that many at once are no way around it; a good one gives it back.
        buckets = () if was_good else (mine, self._all)
        if not all(bucket.has_room(now) for bucket in buckets):
            raise TooManyReviewsError("Too many tokens were refused")
        if len(self._under_way) >= AT_ONCE + WAITING:
            raise TooManyReviewsError("Too many tokens wait to be checked")
        for bucket in buckets:
            bucket.take()
        task = asyncio.create_task(self._review(token, digest, buckets))
        self._under_way[digest] = task
        task.add_done_callback(lambda done: self._end(digest, done))
        return task

    def _end(self, digest: bytes, task: "asyncio.Task[T]") -> None:
        del self._under_way[digest]
        if not task.cancelled():
            # It may be that nobody waits any more.
            task.exception()

    async def _review(self, token: str, digest: bytes, buckets: "tuple[_Bucket, ...]") -> T:
        is_refused = False
        try:
            async with self._turns, asyncio.timeout(_REVIEW_SECONDS):
                status = await self._reviewer.review_token(token, self._audience)
            found = self._read(status)
        except TokenRefusedError as refusal:
            is_refused = True
            self._good.pop(digest, None)
            _remember(self._refused, digest, (self._monotonic() + REFUSED_SECONDS, str(refusal)))
            raise
        except TimeoutError as error:
            message = f"The API server said nothing of a token within {_REVIEW_SECONDS:.0f} s"
            raise TooManyReviewsError(message) from error
        finally:
            if not is_refused:
                for bucket in buckets:
                    bucket.refund()
        self._refused.pop(digest, None)
        _remember(self._good, digest, (self._monotonic() + GOOD_SECONDS, found))
        return found

    def _bucket(self, name: str) -> "_Bucket":
        found = self._peers.get(name)
        if found is None:
            found = _Bucket(PEER_REFUSALS, PEER_RATE, self._monotonic())
        _remember(self._peers, name, found, _MOST_PEERS)
        return found


class _Bucket:
    """A number of things that may be had at once, and how fast there are more again."""

    def __init__(self, size: int, rate: float, now: float) -> None:
        self._size, self._rate = size, rate
        self._left, self._at = float(size), now

    def has_room(self, now: float) -> bool:
        """Whether there is one."""
        self._left = min(self._size, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left >= 1

    def take(self) -> None:
        """Take one."""
        self._left -= 1

    def refund(self) -> None:
        """Give one back."""
        self._left = min(self._size, self._left + 1)


K = TypeVar("K")
V = TypeVar("V")


def _remember(store: "OrderedDict[K, V]", key: K, value: V, most: int = MOST) -> None:
    """Keep a value as the newest; the oldest gives way."""
    store[key] = value
    store.move_to_end(key)
    if len(store) > most:
        store.popitem(last=False)
