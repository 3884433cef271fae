"""
Rate-limited and cached TokenReviews.

Tokens are untrusted input. Therefore concurrent reviews of the same token are coalesced, results
are cached, rejected tokens apart from valid ones, and peers that send many rejected tokens are
rate-limited, so that the tokens of others are still reviewed. The rate limit does not apply to a
token that was valid before.
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
"""The maximum number of cached valid tokens, and of cached rejected ones."""
AT_ONCE = 8
"""The maximum number of concurrent reviews."""
WAITING = 128
"""The maximum number of tokens that wait for a review."""
PEER_REFUSALS, PEER_RATE = 20, 0.5
"""The token bucket for rejected tokens of one peer: its size, and its refill rate per second."""
ALL_REFUSALS, ALL_RATE = 200, 5.0
"""The same for all peers in total."""
_REVIEW_SECONDS = 10.0
_MOST_PEERS = 4096
_LONGEST = 16 * 1024

peer: ContextVar[str] = ContextVar("peer", default="")
"""The address of the client of the current request."""

T = TypeVar("T")


class TokenReviewer(Protocol):
    """The part of the API server that reviews tokens."""

    async def review_token(self, token: str, audience: str) -> dict[str, Any]:
        """Return the status of a TokenReview for a token and an audience."""


class TooManyReviewsError(Exception):
    """A token cannot be reviewed now. The request may be retried."""


class TokenRefusedError(Exception):
    """A token is invalid, or not meant for this purpose. The message gives the reason."""


def is_valid(status: Mapping[str, Any], audience: str) -> bool:
    """Whether the status of a TokenReview says that the token is valid for ``audience``."""
    # An API server without audience support returns no audiences.
    return bool(status.get("authenticated")) and audience in (status.get("audiences") or [])


class Reviews(Generic[T]):
    """
    Resolves the tokens of one audience to identities.

    ``read`` makes the identity from the status of a TokenReview, or raises TokenRefusedError.
    """

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
        # Keyed by digest: a memory dump of this process must not contain its clients' tokens.
        self._good: OrderedDict[bytes, tuple[float, T]] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Task[T]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._peers: OrderedDict[str, _Bucket] = OrderedDict()
        self._all = _Bucket(ALL_REFUSALS, ALL_RATE, monotonic())

    async def of(self, token: str) -> T:
        """
        Return the identity for ``token``.

        Raises TokenRefusedError, TooManyReviewsError, and the errors of the reviewer.
        """
        if len(token) > _LONGEST:
            raise TokenRefusedError(f"The token is longer than {_LONGEST} characters.")
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
        # The cancellation of one request must not cancel the review for the others.
        return await asyncio.shield(task)

    def _begin(self, token: str, digest: bytes) -> asyncio.Task[T]:
        mine = self._bucket(peer.get())
        was_good = digest in self._good
        now = self._monotonic()
        # Taken before the review, so that concurrent requests cannot exceed the limit; refunded
        # unless the token is rejected.
        buckets = () if was_good else (mine, self._all)
        if not all(bucket.has_room(now) for bucket in buckets):
            raise TooManyReviewsError("Too many tokens were rejected")
        if len(self._under_way) >= AT_ONCE + WAITING:
            raise TooManyReviewsError("Too many tokens are waiting for review")
        for bucket in buckets:
            bucket.take()
        task = asyncio.create_task(self._review(token, digest, buckets))
        self._under_way[digest] = task
        task.add_done_callback(lambda done: self._end(digest, done))
        return task

    def _end(self, digest: bytes, task: "asyncio.Task[T]") -> None:
        del self._under_way[digest]
        if not task.cancelled():
            # Marks the exception as retrieved: all waiting requests may have been cancelled.
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
            message = f"The API server did not review a token within {_REVIEW_SECONDS:.0f} s"
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
    """A token bucket with a size and a refill rate per second."""

    def __init__(self, size: int, rate: float, now: float) -> None:
        self._size, self._rate = size, rate
        self._left, self._at = float(size), now

    def has_room(self, now: float) -> bool:
        """Whether the bucket has a token left."""
        self._left = min(self._size, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left >= 1

    def take(self) -> None:
        """Take a token."""
        self._left -= 1

    def refund(self) -> None:
        """Put a token back."""
        self._left = min(self._size, self._left + 1)


K = TypeVar("K")
V = TypeVar("V")


def _remember(store: "OrderedDict[K, V]", key: K, value: V, most: int = MOST) -> None:
    """Store a value as the newest; evict the oldest if there are more than ``most``."""
    store[key] = value
    store.move_to_end(key)
    if len(store) > most:
        store.popitem(last=False)
