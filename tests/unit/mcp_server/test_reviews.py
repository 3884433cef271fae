"""What it costs that anybody can send tokens."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from mcp_server.access.reviews import (
    ALL_REFUSALS,
    AT_ONCE,
    PEER_REFUSALS,
    WAITING,
    Reviews,
    TokenRefusedError,
    TooManyReviewsError,
    peer,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class ApiServer:
    """Knows the tokens that begin with ``good``; answers when ``open`` is set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.busy = self.most = 0
        self.open = asyncio.Event()
        self.open.set()

    async def review_token(self, token: str, audience: str) -> dict[str, Any]:
        assert audience == "us"
        self.asked.append(token)
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await self.open.wait()
        finally:
            self.busy -= 1
        return {"authenticated": token.startswith("good"), "name": token}


def read(status: Mapping[str, Any]) -> str:
    if not status["authenticated"]:
        raise TokenRefusedError("no")
    return str(status["name"])


def made(clock: Clock | None = None) -> tuple[ApiServer, Reviews[str]]:
    server = ApiServer()
    return server, Reviews(server, "us", read, clock or Clock())


async def guess(reviews: Reviews[str], number: int) -> None:
    for one in range(number):
        with pytest.raises((TokenRefusedError, TooManyReviewsError)):
            await reviews.of(f"made-up-{one}")


async def test_invalid_tokens_do_not_each_cause_a_token_review() -> None:
    server, reviews = made()
    peer.set("10.0.0.1")
    await guess(reviews, 5000)
    assert len(server.asked) == PEER_REFUSALS


async def test_guesses_are_counted_for_each_client() -> None:
    _, reviews = made()
    peer.set("10.0.0.1")
    await guess(reviews, 100)
    peer.set("10.0.0.2")
    assert await reviews.of("good-1") == "good-1"


async def test_guesses_of_all_clients_together_are_limited() -> None:
    server, reviews = made()
    for number in range(1000):
        peer.set(f"10.0.{number // 256}.{number % 256}")
        with pytest.raises((TokenRefusedError, TooManyReviewsError)):
            await reviews.of(f"made-up-{number}")
    assert len(server.asked) == ALL_REFUSALS


async def test_valid_tokens_are_neither_evicted_nor_delayed_by_guesses() -> None:
    clock = Clock()
    server, reviews = made(clock)
    peer.set("10.0.0.1")
    good = [f"good-{number}" for number in range(100)]
    for token in good:
        await reviews.of(token)
    await guess(reviews, 10_000)
    before = len(server.asked)
    for token in good:
        await reviews.of(token)
    assert len(server.asked) == before
    # Not even when they are asked about again.
    clock.now += 61
    await guess(reviews, 100)
    for token in good:
        assert await reviews.of(token) == token


async def test_a_client_that_was_refused_often_may_retry_later() -> None:
    clock = Clock()
    _, reviews = made(clock)
    await guess(reviews, 100)
    with pytest.raises(TooManyReviewsError):
        await reviews.of("good-new")
    clock.now += 10
    assert await reviews.of("good-new") == "good-new"


async def test_concurrent_requests_with_one_token_share_a_review() -> None:
    server, reviews = made()
    server.open.clear()
    waiting = [asyncio.create_task(reviews.of("good-1")) for _ in range(100)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    await asyncio.sleep(0)
    server.open.set()
    async with asyncio.timeout(10):
        assert set(await asyncio.gather(*waiting)) == {"good-1"}
    assert server.asked == ["good-1"]


async def test_concurrent_and_queued_reviews_are_limited() -> None:
    server, reviews = made()
    server.open.clear()
    tasks = []
    for number in range(1000):
        peer.set(f"peer-{number}")
        tasks.append(asyncio.create_task(reviews.of(f"good-{number}")))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(reviews._under_way) == AT_ONCE + WAITING
    server.open.set()
    async with asyncio.timeout(10):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert server.most == AT_ONCE
    assert sum(isinstance(one, str) for one in results) == AT_ONCE + WAITING
    assert {type(one) for one in results} == {str, TooManyReviewsError}


async def test_the_cache_is_bounded_and_holds_no_token() -> None:
    _, reviews = made()
    for number in range(5000):
        await reviews.of(f"good-{number}")
    assert len(reviews._good) <= 4096
    assert "good-4999" not in repr(list(reviews._good))


async def test_an_oversized_token_is_not_reviewed() -> None:
    server, reviews = made()
    with pytest.raises(TokenRefusedError, match="longer than"):
        await reviews.of("good" * 300_000)
    assert server.asked == []
